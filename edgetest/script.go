package edgetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A script is what one side does with one message: fields, then steps in
// their order. Origins answer by one, clients send by one.
type script struct {
	status  int    // of an answer, 0 in a request
	body    string // sent whole, where no step sends another
	fields  []field
	steps   []step
	raw     bool // an answer of bytes as written: no head is made for it
	mirrors bool // the answer is the request's body, or an upgrade that echoes
}

type step struct {
	do     string
	text   string
	wait   time.Duration
	status int
	field  field
	has    bool // field is there
}

// stepWords are the steps of a script.
var stepWords = []string{
	"wait", "early", "interim", "head", "chunk", "every", "trailer", "echo", "send", "close", "reset", "hang", "unread",
}

// parseSteps adds the lines of a block to s.
func (s *script) parseSteps(lines []blockLine) error {
	for _, l := range lines {
		t := strings.TrimSpace(l.text)
		if t == "" || strings.HasPrefix(t, "# ") {
			continue
		}
		if f, ok := parseField(t); ok && !s.raw {
			v, err := unescape(f.value)
			if err != nil {
				return l.errorf("%w", err)
			}
			s.fields = append(s.fields, field{f.name, v})
			continue
		}
		st, err := parseStep(t)
		if err != nil {
			return l.errorf("%w", err)
		}
		s.steps = append(s.steps, st)
	}
	return nil
}

func parseStep(t string) (step, error) {
	do, rest := word(t)
	st := step{do: do}
	var err error
	switch do {
	case "early", "head", "echo", "close", "reset", "hang", "unread":
		if rest != "" {
			err = fmt.Errorf("%s stands alone, got %q behind it", do, rest)
		}
	case "wait":
		st.wait, err = duration(rest)
	case "send":
		st.text, err = unescape(rest)
	case "chunk":
		st.text, err = text(rest)
	case "every":
		st, err = parseEvery(rest)
	case "trailer":
		if st.field, st.has = parseField(rest); !st.has {
			err = fmt.Errorf("%q is not a trailer field: write trailer Name: value", rest)
		}
	case "interim":
		st, err = parseInterim(rest)
	default:
		err = unknown("step", do, stepWords)
	}
	return st, err
}

func parseEvery(rest string) (step, error) {
	period, what := word(rest)
	d, err := duration(period)
	if err != nil {
		return step{}, err
	}
	t, ok := strings.CutPrefix(what, "chunk ")
	if !ok {
		return step{}, fmt.Errorf("%q cannot be repeated: write every 1s chunk TEXT", what)
	}
	t, err = text(t)
	return step{do: "every", wait: d, text: t}, err
}

func parseInterim(rest string) (step, error) {
	code, more := word(rest)
	st := step{do: "interim"}
	var err error
	if st.status, err = strconv.Atoi(code); err != nil || st.status < 100 || st.status > 199 {
		return st, fmt.Errorf("%q is not an interim status: write interim 103 Name: value", code)
	}
	if more != "" {
		if st.field, st.has = parseField(more); !st.has {
			return st, fmt.Errorf("%q is not a field: write interim 103 Name: value", more)
		}
	}
	return st, nil
}

// streams says whether steps send the body.
func (s *script) streams() bool {
	for _, st := range s.steps {
		switch st.do {
		case "chunk", "every", "echo", "trailer":
			return true
		}
	}
	return false
}

func (s *script) has(do string) bool {
	for _, st := range s.steps {
		if st.do == do {
			return true
		}
	}
	return false
}

func (s *script) value(name string) (string, bool) {
	for _, f := range s.fields {
		if strings.EqualFold(f.name, name) {
			return f.value, true
		}
	}
	return "", false
}

func (s *script) trailers() []field {
	var out []field
	for _, st := range s.steps {
		if st.do == "trailer" {
			out = append(out, st.field)
		}
	}
	return out
}

// errCut says that the script itself ended the connection, or the other side did.
var errCut = errors.New("the connection was cut")

// wire is what a script plays on: a message of HTTP/1.1 or HTTP/2.
type wire interface {
	interim(status int, fields []field) error
	head(s *script) error
	body(p string) error
	send(p string) error // bytes as they are
	end(trailers []field) error
	cut(reset bool)
}

// play runs a script until its message is through. ctx ends when the other
// side is gone. source is what echo sends.
func (s *script) play(ctx context.Context, w wire, source io.Reader) error {
	begun := s.raw
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		return w.head(s)
	}
	for _, st := range s.steps {
		if err := s.playStep(ctx, w, st, source, begin); err != nil {
			return err
		}
	}
	if err := begin(); err != nil {
		return err
	}
	if !s.streams() && s.body != "" {
		if err := w.body(s.body); err != nil {
			return err
		}
	}
	return w.end(s.trailers())
}

func (s *script) playStep(ctx context.Context, w wire, st step, source io.Reader, begin func() error) error {
	switch st.do {
	case "wait":
		return sleep(ctx, st.wait)
	case "hang":
		<-ctx.Done()
		return errCut
	case "interim":
		var fields []field
		if st.has {
			fields = append(fields, st.field)
		}
		return w.interim(st.status, fields)
	case "close", "reset":
		if !s.streams() && s.body != "" && !s.raw {
			if err := errors.Join(begin(), w.body(s.body)); err != nil {
				return err
			}
		}
		w.cut(st.do == "reset")
		return errCut
	case "send":
		return w.send(st.text)
	case "head":
		return begin()
	case "chunk", "every", "echo":
		if err := begin(); err != nil {
			return err
		}
		return s.playBody(ctx, w, st, source)
	}
	return nil
}

func (s *script) playBody(ctx context.Context, w wire, st step, source io.Reader) error {
	switch st.do {
	case "chunk":
		return w.body(st.text)
	case "echo":
		return echo(w, source)
	}
	for {
		if err := w.body(st.text); err != nil {
			return err
		}
		if err := sleep(ctx, st.wait); err != nil {
			return err
		}
	}
}

// echo copies source as it comes, without collecting.
func echo(w wire, source io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := source.Read(buf)
		if n > 0 {
			if werr := w.body(string(buf[:n])); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return errCut
	}
}

// bodiless says whether an answer has no body whatever its fields say (RFC
// 9112, section 6.3).
func bodiless(method string, status int) bool {
	return method == http.MethodHead || status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

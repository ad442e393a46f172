package edgetest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing/synctest"
	"time"
)

// expectation is what is checked of an exchange.
type expectation func(p *player, x *exchange) error

var expectWords = []string{
	"header", "no", "body", "decoded", "begun", "chunk", "nothing", "broken", "closed", "open", "took", "interim", "trailer",
	"protocol", "proxy-status", "next", "origin", "log", "logs", "metric", "ended",
}

// compileExpect reads what stands behind expect: a status, a word, or the name
// of a request and then one of them.
func compileExpect(rest string) (func(*player) error, error) {
	first, more := word(rest)
	switch first {
	case "":
		return nil, errors.New("expect what? write expect 200")
	case "origin":
		return compileExpectOrigin(more)
	case "log", "logs", "metric":
		return compileExpectSeen(first, more)
	case "ended":
		return func(p *player) error { return p.expectEnded() }, nil
	case "next":
		check, err := compileAnswer(more)
		return func(p *player) error { return p.expectNext(check) }, err
	}
	name := ""
	if !isStatus(first) && !slices.Contains(expectWords, first) {
		second, _ := word(more)
		if !isStatus(second) && !slices.Contains(expectWords, second) {
			return nil, unknown("thing to expect", first, append([]string{"200"}, expectWords...))
		}
		name, rest = first, more
	}
	check, err := compileAnswer(rest)
	return func(p *player) error {
		x, err := p.exchange(name)
		if err != nil {
			return err
		}
		return check(p, x)
	}, err
}

func isStatus(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 100 && n <= 999
}

// compileAnswer reads what is expected of an answer.
func compileAnswer(rest string) (expectation, error) {
	first, more := word(rest)
	if isStatus(first) {
		return compileStatus(first, more)
	}
	switch first {
	case "header", "trailer":
		return compileField(first, more, true)
	case "no":
		kind, name := word(more)
		if kind != "header" && kind != "trailer" {
			return nil, unknown("thing not to expect", kind, []string{"header", "trailer"})
		}
		return compileField(kind, name, false)
	case "body":
		return compileBody(more)
	case "decoded":
		coding, more := word(more)
		s, err := text(more)
		return func(_ *player, x *exchange) error { return x.expectDecoded(coding, s) }, err
	case "begun":
		coding, more := word(more)
		s, err := text(more)
		return func(p *player, x *exchange) error { return p.expectBegun(x, coding, s) }, err
	case "chunk":
		s, err := text(more)
		return func(p *player, x *exchange) error { return p.expectChunk(x, s) }, err
	case "interim":
		st, err := parseInterim(more)
		return func(_ *player, x *exchange) error { return x.expectInterim(st) }, err
	case "took":
		d, err := duration(more)
		return func(_ *player, x *exchange) error { return x.expectTook(d) }, err
	case "protocol":
		return func(_ *player, x *exchange) error {
			if err := x.awaitHead(); err != nil {
				return err
			}
			return same(x.proto, more)
		}, nil
	case "proxy-status":
		return compileListed("Proxy-Status", more), nil
	case "nothing", "broken", "closed", "open":
		return map[string]expectation{
			"nothing": (*player).expectNothing, "broken": (*player).expectBroken,
			"closed": (*player).expectClosed, "open": (*player).expectOpen,
		}[first], alone(first, more)
	}
	return nil, unknown("thing to expect", first, append([]string{"200"}, expectWords...))
}

var cacheStatus = regexp.MustCompile(`(^| )selvage(;.*)?$`)

// compileStatus reads STATUS [BODY] [selvage; ...].
func compileStatus(status, rest string) (expectation, error) {
	want, _ := strconv.Atoi(status)
	var listed expectation
	if at := cacheStatus.FindStringIndex(rest); at != nil {
		listed = compileListed("Cache-Status", strings.TrimPrefix(strings.TrimSpace(rest[at[0]:]), "selvage"))
		rest = strings.TrimSpace(rest[:at[0]])
	}
	body, err := text(rest)
	if err != nil {
		return nil, err
	}
	return func(p *player, x *exchange) error {
		if err := x.awaitHead(); err != nil {
			return err
		}
		if x.status != want {
			return fmt.Errorf("got  %d %s\n\twant %s", x.status, x.told(), status)
		}
		if rest != "" {
			if err := x.expectBody(body); err != nil {
				return err
			}
		}
		if listed != nil {
			return listed(p, x)
		}
		return nil
	}, nil
}

// told is what an unexpected answer says, for the message.
func (x *exchange) told() string {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	var s strings.Builder
	fmt.Fprintf(&s, "%.200q", x.body)
	for _, name := range []string{"Proxy-Status", "Cache-Status"} {
		if v := x.header.Get(name); v != "" {
			s.WriteString(", " + name + ": " + v)
		}
	}
	return s.String()
}

func (x *exchange) expectBody(want string) error {
	if err := x.awaitEnd(); err != nil {
		return err
	}
	if x.endErr != nil {
		return fmt.Errorf("got a body that broke after %d bytes: %w", len(x.body), x.endErr)
	}
	if string(x.body) == want || countless(x.body) == want {
		return nil
	}
	return same(string(x.body), want)
}

// countless is the default answer of an origin without its number.
func countless(body []byte) string {
	at := bytes.LastIndexByte(body, ' ')
	if at < 0 || at+1 == len(body) {
		return string(body)
	}
	for _, c := range body[at+1:] {
		if c < '0' || c > '9' {
			return string(body)
		}
	}
	return string(body[:at])
}

// same compares, and shows long texts from their first difference on.
func same(got, want string) error {
	if got == want {
		return nil
	}
	if len(got) < 300 && len(want) < 300 {
		return fmt.Errorf("got  %q\n\twant %q", got, want)
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	from := max(0, at-20)
	return fmt.Errorf("got  %d bytes, from byte %d %.60q\n\twant %d bytes, from byte %d %.60q",
		len(got), from, got[from:], len(want), from, want[from:])
}

func compileBody(rest string) (expectation, error) {
	if re, ok := strings.CutPrefix(rest, "matches "); ok {
		pattern, err := regexp.Compile(re)
		return func(_ *player, x *exchange) error {
			if err := x.awaitEnd(); err != nil {
				return err
			}
			if !pattern.Match(x.body) {
				return fmt.Errorf("got  %q\n\twant a body that matches %s", x.body, re)
			}
			return nil
		}, err
	}
	s, err := text(rest)
	return func(_ *player, x *exchange) error { return x.expectBody(s) }, err
}

// compileField reads Name, Name: value or Name matches PATTERN.
func compileField(kind, rest string, wanted bool) (expectation, error) {
	check, err := compileFieldCheck(rest, wanted)
	return func(_ *player, x *exchange) error {
		wait := x.awaitHead
		if kind == "trailer" {
			wait = x.awaitEnd
		}
		if err := wait(); err != nil {
			return err
		}
		if kind == "trailer" {
			return check(x.trailer)
		}
		return check(x.header)
	}, err
}

var fieldName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func compileFieldCheck(rest string, wanted bool) (func(http.Header) error, error) {
	if f, ok := parseField(rest); ok && wanted {
		want, err := unescape(f.value)
		return func(h http.Header) error {
			values := h.Values(f.name)
			got := strings.Join(values, ", ")
			if len(values) == 0 {
				return fmt.Errorf("got no %s\n\twant %s: %s", f.name, f.name, want)
			}
			if got != want {
				return fmt.Errorf("got  %s: %s\n\twant %s: %s", f.name, got, f.name, want)
			}
			return nil
		}, err
	}
	name, more := word(rest)
	if !fieldName.MatchString(name) {
		return nil, fmt.Errorf("%q is not a field: write Name: value, Name, or Name matches PATTERN", rest)
	}
	if re, ok := strings.CutPrefix(more, "matches "); ok && wanted {
		pattern, err := regexp.Compile(re)
		return func(h http.Header) error {
			if got := strings.Join(h.Values(name), ", "); !pattern.MatchString(got) {
				return fmt.Errorf("got  %s: %s\n\twant it to match %s", name, got, re)
			}
			return nil
		}, err
	}
	return func(h http.Header) error {
		_, there := h[http.CanonicalHeaderKey(name)]
		if there != wanted {
			return fmt.Errorf("got  %s: %q\n\twant it there: %t", name, h.Values(name), wanted)
		}
		return nil
	}, alone(name, more)
}

// compileListed reads parameters that our own member of a list field must
// have, such as hit; ttl=1, or must not have, with a ! before them.
func compileListed(name, params string) expectation {
	var want []string
	for p := range strings.SplitSeq(params, ";") {
		if p = strings.TrimSpace(p); p != "" && p != "selvage" {
			want = append(want, p)
		}
	}
	return func(_ *player, x *exchange) error {
		if err := x.awaitHead(); err != nil {
			return err
		}
		all := strings.Join(x.header.Values(name), ", ")
		got := ownMember(all)
		if got == nil {
			return fmt.Errorf("got  %s: %s\n\twant selvage; %s", name, all, strings.Join(want, "; "))
		}
		for _, w := range want {
			absent, not := strings.CutPrefix(w, "!")
			there := slices.Contains(got, w)
			if not {
				there = !slices.ContainsFunc(got, func(g string) bool { k, _, _ := strings.Cut(g, "="); return k == absent })
			}
			if !there {
				return fmt.Errorf("got  %s: %s\n\twant %s", name, all, w)
			}
		}
		return nil
	}
}

// ownMember is the parameters of our member, nil if there is none.
func ownMember(list string) []string {
	var own []string
	quoted := false
	start := 0
	member := func(s string) {
		parts := strings.Split(s, ";")
		if strings.TrimSpace(parts[0]) != "selvage" {
			return
		}
		own = []string{}
		for _, p := range parts[1:] {
			own = append(own, strings.TrimSpace(p))
		}
	}
	for i := range len(list) {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == ',' && !quoted:
			member(list[start:i])
			start = i + 1
		}
	}
	member(list[start:])
	return own
}

func (x *exchange) expectInterim(want step) error {
	if !x.await(func() bool { return len(x.interims) > x.nextSeen || x.status != 0 || x.failed != nil }) || len(x.interims) <= x.nextSeen {
		return fmt.Errorf("got  no interim answer before status %d\n\twant %d", x.status, want.status)
	}
	got := x.interims[x.nextSeen]
	x.nextSeen++
	if got.status != want.status {
		return fmt.Errorf("got  %d\n\twant %d", got.status, want.status)
	}
	if !want.has {
		return nil
	}
	return same(strings.Join(got.header.Values(want.field.name), ", "), want.field.value)
}

func (x *exchange) expectTook(want time.Duration) error {
	if err := x.awaitHead(); err != nil {
		return err
	}
	if got := x.headAt.Sub(x.begun); got != want {
		return fmt.Errorf("got  the answer after %v\n\twant it after %v", got, want)
	}
	return nil
}

// expectChunk compares what has come since the last expect chunk. No time
// passes, so that what has not been sent on at once is found.
func (p *player) expectChunk(x *exchange, want string) error {
	if x == nil {
		return errors.New("there is no request yet")
	}
	x.release()
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	got := string(x.body[x.taken:])
	x.taken = len(x.body)
	if got != want && x.failed != nil {
		return fmt.Errorf("got no answer: %w", x.failed)
	}
	return same(got, want)
}

// expectNothing says that nothing has come since the last expectation.
func (p *player) expectNothing(x *exchange) error {
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.failed != nil:
		return fmt.Errorf("got  an end: %w\n\twant nothing yet", x.failed)
	case x.ended:
		return fmt.Errorf("got  an answer's end, %d %.100q\n\twant nothing yet", x.status, x.body)
	case len(x.body) > x.taken:
		return fmt.Errorf("got  %.100q\n\twant nothing yet", x.body[x.taken:])
	case x.status != 0 && !x.headSeen:
		return fmt.Errorf("got  %d\n\twant nothing yet", x.status)
	}
	return nil
}

// expectBroken says that the answer ended in a way that cannot be taken for a good end.
func (p *player) expectBroken(x *exchange) error {
	x.release()
	if !x.await(func() bool { return x.ended || x.failed != nil }) {
		return fmt.Errorf("got no end of the answer within %v\n\twant it broken", patience)
	}
	if x.failed == nil && x.endErr == nil {
		return fmt.Errorf("got  a good end, %d %.100q\n\twant it broken", x.status, x.body)
	}
	return nil
}

func (p *player) expectClosed(x *exchange) error {
	x.release()
	synctest.Wait()
	if !x.client.gone() {
		return errors.New("got  an open connection\n\twant it closed by the edge")
	}
	return nil
}

func (p *player) expectOpen(x *exchange) error {
	synctest.Wait()
	if x.client.gone() {
		return errors.New("got  a closed connection\n\twant it open")
	}
	return nil
}

// expectNext checks the next answer on the connection of the last request.
func (p *player) expectNext(check expectation) error {
	last, err := p.exchange("")
	if err != nil {
		return err
	}
	c, ok := last.client.(*client1)
	if !ok {
		return errors.New("next is of HTTP/1.1, where answers follow each other")
	}
	x := newExchange(http.MethodGet, "next")
	x.client = c
	p.last = x
	c.expectAnswer(x)
	return check(p, x)
}

func (p *player) expectEnded() error {
	if !p.ended {
		return errors.New("nothing has told the edge to end: write drain before it")
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	if p.over {
		return nil
	}
	select {
	case err := <-p.done:
		p.over = true
		return err
	case <-limit.C:
		return fmt.Errorf("got an edge that still runs after %v", patience)
	}
}

package edgetest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	api "github.com/selvage-edge/selvage/client"
)

// Explainer is an edge that says what it would do with a request, and does nothing.
type Explainer interface {
	Why(ctx context.Context, r api.WhyRequest) (*api.Why, error)
}

// verdicts are those of an account.
var verdicts = []string{"hit", "stale", "forwarded", "refused", "answered"}

// said is what an account is to say: a verdict or a rule, with words of it.
type said struct {
	word, words string
	rule        bool // it is a rule, even if a verdict has the same word
	not         bool
}

// compileWhy reads
//
//	why [METHOD] TARGET [Name: value]
//	  Name: value
//	  hit [WORDS]
//	  [rule] RULE WORDS
//	  no RULE
func (st statement) compileWhy(rest string) (func(*player) error, error) {
	r := api.WhyRequest{}
	target, rest := word(rest)
	if target != "" && target == strings.ToUpper(target) && target[0] != '/' {
		r.Method = target
		target, rest = word(rest)
	}
	if !strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("why needs a path, got %q: write why /path", target)
	}
	var want []said
	for _, line := range append([]blockLine{{text: rest}}, st.block...) {
		t := strings.TrimSpace(line.text)
		if _, isField := parseField(t); isField {
			r.Fields = append(r.Fields, t)
			continue
		}
		s := said{}
		switch s.word, s.words = word(t); s.word {
		case "no":
			s = said{word: s.words, not: true}
		case "rule":
			s.rule = true
			s.word, s.words = word(s.words)
		}
		if s.word != "" {
			want = append(want, s)
		}
	}
	if len(want) == 0 {
		return nil, errors.New("why what? write what it says below, hit or fresh 41 s left")
	}
	return func(p *player) error { return p.why(r, target, want) }, nil
}

// why asks for an account and checks it.
func (p *player) why(r api.WhyRequest, target string, want []said) error {
	if err := p.ready(); err != nil {
		return err
	}
	explainer, ok := p.edge.(Explainer)
	if !ok {
		return errors.New("this edge cannot say why")
	}
	scheme, host := "http", "shop.example"
	if p.protocol == "tls" || p.protocol == "h2" {
		scheme = "https"
	}
	for _, line := range r.Fields {
		if f, _ := parseField(line); strings.EqualFold(f.name, "Host") {
			host = f.value
		}
	}
	r.URL = scheme + "://" + host + target
	if p.from != (netip.Addr{}) {
		r.From = p.from.String()
	}
	w, err := explainer.Why(p.running, r)
	if err != nil {
		return err
	}
	for _, s := range want {
		if s.holds(w) == s.not {
			return fmt.Errorf("got\n%s\twant %s", spelled(w), s)
		}
	}
	return nil
}

func (s said) String() string {
	if s.not {
		return "no " + s.word
	}
	return strings.TrimSuffix(s.word+" "+s.words, " ")
}

// holds says whether an account says so.
func (s said) holds(w *api.Why) bool {
	if slices.Contains(verdicts, s.word) && !s.rule {
		return w.Verdict == s.word && strings.Contains(w.Words, s.words)
	}
	if s.word == "header" {
		return strings.Contains(w.CacheStatus, s.words)
	}
	words, section := s.words, ""
	if i := strings.LastIndexByte(words, '('); i >= 0 && strings.HasSuffix(words, ")") {
		words, section = strings.TrimRight(words[:i], " "), words[i+1:len(words)-1]
	}
	return slices.ContainsFunc(w.Steps, func(step api.WhyStep) bool {
		return step.Rule == s.word && strings.Contains(step.Words, words) && (section == "" || step.Section == section)
	})
}

// spelled is an account as lines.
func spelled(w *api.Why) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%s %s\n\theader %s\n", w.Verdict, w.Words, w.CacheStatus)
	for _, s := range w.Steps {
		fmt.Fprintf(&b, "\t%s %s (%s)\n", s.Rule, s.Words, s.Section)
	}
	return b.String()
}

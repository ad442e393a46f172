package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/client"
)

// whyFlags are the flags of why.
type whyFlags struct {
	on                         target
	fields                     []string
	method, from, body, format string
}

func whyCommand() *cobra.Command {
	f := new(whyFlags)
	cmd := &cobra.Command{
		Use:   "why [flags] URL",
		Short: "What the cache would do with a request, and why",
		Long: `Say what would be done with a request now, rule by rule, with the section of the
RFC that each rule comes from.

  selvage why https://shop.example/p/42
  selvage why https://shop.example/p/42 -H 'Accept-Language: de'
  selvage why https://shop.example/p/42 -H 'Cache-Control: no-cache'
  selvage why https://shop.example/search -X QUERY -d 'shoes'

Nothing is asked of the origin and nothing changes by it: no use is counted, no
allowance is taken. A password is not looked at, and taken for right. The client
is 127.0.0.1 unless --from names another.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one URL")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"https://", "http://"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
	}
	f.on.flags(cmd)
	outputFlag(cmd, &f.format)
	cmd.Flags().StringArrayVarP(&f.fields, "header", "H", nil, "a field of the request, Name: value; may be given again")
	cmd.Flags().VarP(word{&f.method, "method"}, "method", "X", "the request's method; GET if not given")
	cmd.Flags().VarP(word{&f.body, "text"}, "body", "d", "the body of a QUERY")
	cmd.Flags().Var(word{&f.from, "address"}, "from", "the client's address")
	return cmd
}

func (f *whyFlags) run(cmd *cobra.Command, url string) error {
	wrong := func(format string, args ...any) error {
		return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
	}
	switch {
	case f.format != "text" && f.format != "json":
		return wrong("output %q: write text or json", f.format)
	case strings.HasPrefix(url, "/"):
		return wrong("%q is a path: write the whole URL, as in https://shop.example%s", url, url)
	case !strings.Contains(url, "://"):
		return wrong("%q: did you mean %q?", url, "https://"+url)
	}
	for _, line := range f.fields {
		if !strings.Contains(line, ":") {
			return wrong("header %q: write 'Name: value'", line)
		}
	}
	c, err := f.on.client()
	if err != nil {
		return err
	}
	w, err := c.Why(cmd.Context(), client.WhyRequest{URL: url, Method: f.method, Fields: f.fields, Body: f.body, From: f.from})
	if err != nil {
		return f.on.advise(err)
	}
	if f.format == "json" {
		return printJSON(cmd.OutOrStdout(), w)
	}
	whyPage{cmd.OutOrStdout(), newUI(os.Stdout)}.show(w)
	return nil
}

// whyPage writes an account for people.
type whyPage struct {
	w io.Writer
	u ui
}

// The columns of an account: the rule, what it says, where it comes from.
const (
	whyRuleColumns  = 10
	whyWordsColumns = 46
)

func (p whyPage) show(w *client.Why) {
	sign, paint := signWatch, p.u.strong
	if w.Verdict == "hit" {
		sign = signOK
	}
	head := fmt.Sprintf("%s on %s: ", strings.ToUpper(w.Verdict), w.Node)
	lines := strings.Split(strings.TrimRight(wrap(head+w.Words, "    "), "\n"), "\n")
	lines[0] = strings.Replace(strings.TrimPrefix(lines[0], "    "), strings.ToUpper(w.Verdict), paint(strings.ToUpper(w.Verdict)), 1)
	fmt.Fprintf(p.w, "\n  %s %s\n", p.u.sign(sign), strings.Join(lines, "\n"))
	if w.Then != "" {
		fmt.Fprint(p.w, wrap(w.Then, "    "))
	}
	fmt.Fprintln(p.w)
	last := ""
	for i, s := range w.Steps {
		section := s.Section
		if i == 0 && s.Rule == "route" {
			section = "revision " + short(w.Revision)
		}
		words := s.Words
		if s.Purge != nil {
			words += "; position " + grouped(int64(s.Purge.Position))
			if s.Purge.Who != "" {
				words += " by " + s.Purge.Who
			}
			words += ", " + span(w.At.Sub(s.Purge.At)) + " ago"
		}
		rule := s.Rule
		if rule == last {
			rule = ""
		}
		last = s.Rule
		p.row(rule, words, section, s.Against)
	}
	if len(w.Elsewhere) > 0 {
		fmt.Fprintln(p.w)
	}
	for i, e := range w.Elsewhere {
		rule := "elsewhere"
		if i > 0 {
			rule = ""
		}
		p.row(rule, strings.TrimPrefix(e.Node+" "+e.Verdict+": "+e.Words, " "), "", false)
	}
	if w.CacheStatus != "" {
		fmt.Fprintln(p.w)
		p.row("header", "Cache-Status: "+w.CacheStatus, "", false)
	}
	fmt.Fprintln(p.w)
}

// row is one rule. What does not fit beside the section goes on below.
func (p whyPage) row(rule, words, section string, against bool) {
	most := whyWordsColumns
	if section == "" {
		most = maxColumns - whyRuleColumns - 3
	}
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(words) {
		if line != "" && len([]rune(line+" "+word)) > most {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	lines = append(lines, line)
	for i, l := range lines {
		if i > 0 {
			rule, section = "", ""
		}
		pad := ""
		if section != "" {
			pad = strings.Repeat(" ", max(1, whyWordsColumns+1-len([]rune(l))))
		}
		if against {
			l = p.u.watch(l)
		}
		fmt.Fprintf(p.w, "  %-*s %s%s%s\n", whyRuleColumns, rule, l, pad, p.u.dim(section))
	}
}

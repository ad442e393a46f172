package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/client"
)

// purgeFlags are the flags of purge.
type purgeFlags struct {
	on                     target
	service, format, why   string
	soft, preview, guarded bool
	timeout                time.Duration
}

func purgeCommand() *cobra.Command {
	f := new(purgeFlags)
	cmd := &cobra.Command{
		Use:   "purge [flags] tag:NAME|URL|service:NAME...",
		Short: "Make every node forget answers, with a receipt from each",
		Long: `Make every node forget answers, and wait until each has said that it did.

  selvage purge tag:product-42                   what has this tag
  selvage purge https://shop.example/p/42        this URL, in all its variants
  selvage purge service:shop                     all of a service
  selvage purge --guarded service:shop           1 % of its URLs first, and more
                                                 as the origin stands it
  selvage purge --preview tag:product-42         what would it hit?

Nothing that was requested from the origin before is given to anybody who asks
after the receipt. With --soft it is stale: it may still be given while it is
fetched anew, or where the origin fails. The exit status is 1 when a receipt is
missing.

With --guarded it is a change like a deploy: watched, held and undone by its
evidence, with its exit status. What was forgotten by then is not brought back.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("say what: tag:NAME, a URL, or service:NAME")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"tag:", "service:", "https://"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
	}
	f.on.flags(cmd)
	outputFlag(cmd, &f.format)
	cmd.Flags().Var(word{&f.service, "name"}, "service", "whose tags; not needed where there is one service only")
	cmd.Flags().BoolVar(&f.soft, "soft", false, "it is stale afterwards, not gone")
	cmd.Flags().BoolVar(&f.guarded, "guarded", false, "all of one service, some of its URLs first; watched as a deploy is")
	cmd.Flags().VarP(word{&f.why, "reason"}, "message", "m", "why, for the log of changes; with --guarded")
	cmd.Flags().BoolVar(&f.preview, "preview", false, "only say what it would hit, and what that means for the origin")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Second, "how long to wait for receipts, 60s at the most")
	return cmd
}

func (f *purgeFlags) run(cmd *cobra.Command, args []string) error {
	wrong := func(format string, args ...any) error {
		return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
	}
	switch {
	case f.format != "text" && f.format != "json":
		return wrong("output %q: write text or json", f.format)
	case f.timeout < time.Millisecond || f.timeout > time.Minute:
		return wrong("timeout %s: write 1ms to 60s", f.timeout)
	}
	for _, what := range args {
		if !strings.HasPrefix(what, "tag:") && !strings.HasPrefix(what, "service:") && !strings.Contains(what, "://") {
			return wrong("%q: did you mean %q?", what, "tag:"+what)
		}
	}
	guarded, isService := strings.CutPrefix(args[0], "service:")
	switch {
	case f.guarded && (!isService || len(args) > 1):
		return wrong("--guarded is for all of one service: write service:NAME")
	case f.guarded && (f.soft || f.preview):
		return wrong("--guarded is hard, and no preview: leave out --soft and --preview")
	case !f.guarded && f.why != "":
		return wrong("-m is for the log of changes, in which only a purge with --guarded is")
	}
	c, err := f.on.client()
	if err != nil {
		return err
	}
	if f.guarded {
		return f.guard(cmd, c, guarded)
	}
	p, err := c.Purge(cmd.Context(), client.PurgeRequest{
		What: args, Service: f.service, Soft: f.soft, Preview: f.preview, WaitMS: int(f.timeout.Milliseconds()),
	})
	if err != nil {
		return f.on.advise(err)
	}
	if f.format == "json" {
		err = printJSON(cmd.OutOrStdout(), p)
	} else {
		purgePage{cmd.OutOrStdout(), newUI(os.Stdout), time.Now(), f.timeout}.show(p)
	}
	if err == nil && !p.Complete {
		return &saidError{exitFailed}
	}
	return err
}

// guard purges all of a service as a change, and watches it.
func (f *purgeFlags) guard(cmd *cobra.Command, c *client.Client, service string) error {
	change, err := c.Submit(cmd.Context(), client.Submission{Service: service, Kind: "purge", Why: f.why})
	if err != nil {
		return f.on.advise(err)
	}
	status, err := newWatcher(cmd, c, f.format).follow(cmd.Context(), client.Of{Change: change.ID})
	if err == nil {
		return ended(status)
	}
	return f.on.advise(err)
}

// purgePage writes a purge and its receipts for people.
type purgePage struct {
	w      io.Writer
	u      ui
	now    time.Time
	waited time.Duration
}

// barColumns is how long the slowest node's bar is.
const barColumns = 42

func (g purgePage) show(p *client.Purge) {
	how := "hard"
	if p.Soft {
		how = "soft"
	}
	if p.Preview {
		how += ", a preview"
	}
	fmt.Fprintf(g.w, "\n  %s  %s  at %s\n\n", g.u.strong(strings.Join(p.What, " ")), how, grouped(int64(p.Position)))
	names, slowest := 0, 0.0
	for _, r := range p.Receipts {
		names, slowest = max(names, len(r.Node)), max(slowest, r.MS)
	}
	for _, m := range p.Missing {
		names = max(names, len(m.Node))
	}
	var objects int64
	for _, r := range p.Receipts {
		line := fmt.Sprintf("  %s %-*s  ", g.u.sign(signOK), names, r.Node)
		if r.Hits != nil {
			objects += r.Hits.Objects
			fmt.Fprintf(g.w, "%s%s, %s, asked for %.1f times a second\n", line, count(int(r.Hits.Objects), "object"), roundBytes(r.Hits.Bytes), r.Hits.PerSecond)
			continue
		}
		fmt.Fprintf(g.w, "%s%7.1f ms  %s\n", line, r.MS, g.bar(r.MS, slowest))
	}
	var missing []string
	for _, m := range p.Missing {
		missing = append(missing, m.Node)
		seen := ""
		if !m.LastSeen.IsZero() {
			seen = ", last seen " + span(g.now.Sub(m.LastSeen)) + " ago"
		}
		fmt.Fprintf(g.w, "  %s %-*s  no receipt after %s%s\n", g.u.sign(signBad), names, m.Node, g.waited, seen)
	}
	all := len(p.Receipts) + len(p.Missing)
	switch {
	case len(missing) > 0:
		fmt.Fprintf(g.w, "\n  %s; missing: %s\n", g.u.strong(fmt.Sprintf("applied on %d of %s", len(p.Receipts), count(all, "node"))), strings.Join(missing, ", "))
	case p.Preview:
		fmt.Fprintf(g.w, "\n  nothing was purged. The origin would be asked once for each: %s\n", count(int(objects), "time"))
	default:
		fmt.Fprintf(g.w, "\n  %s in %.1f ms\n", g.u.strong(fmt.Sprintf("applied on %d of %s", len(p.Receipts), count(all, "node"))), slowest)
	}
}

// bar is as long as a time is, against the slowest.
func (g purgePage) bar(ms, slowest float64) string {
	n := 1
	if slowest > 0 {
		n = max(1, int(ms/slowest*barColumns+0.5))
	}
	return g.u.dim(strings.Repeat("█", n))
}

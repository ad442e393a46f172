package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
)

// deployFlags are the flags of deploy.
type deployFlags struct {
	on                 target
	why, format        string
	breakGlass, detach bool
}

func deployCommand() *cobra.Command {
	f := new(deployFlags)
	cmd := &cobra.Command{
		Use:   "deploy [flags] FILE|FOLDER...",
		Short: "Change a service, watched: what is bad is undone by itself",
		Long: `Deploy a service file with the files that it names, and watch it.

  selvage deploy shop.yaml -m "prices in euro"
  selvage plan shop.yaml                       what would it change?

The new revision gets a sliver of the traffic, and more as the evidence grows
that it is no worse than the old one; what is bad is undone. On a terminal: u
undoes, h holds, q leaves it running. Ctrl-C leaves it running too, but nobody
knows then how it ends, and deploys no more of several. The exit status is 0 when
it was promoted or left with q, 1 when it was undone, refused, superseded or not
watched to its end, 3 when it is held.

A deployed service runs on every node: ${secret:NAME} may stand in it, ${env:NAME}
and ${file:PATH} not. --break-glass shortens the gates, it leaves none out.`,
		Args: needFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(cmd, f.format); err != nil {
				return err
			}
			return sayProblems(cmd, f.run(cmd, args))
		},
		ValidArgsFunction: yamlFiles,
	}
	f.on.flags(cmd)
	outputFlag(cmd, &f.format)
	cmd.Flags().VarP(word{&f.why, "reason"}, "message", "m", "why, for the log of changes")
	cmd.Flags().BoolVar(&f.breakGlass, "break-glass", false, "shorter gates, for what cannot wait")
	cmd.Flags().BoolVar(&f.detach, "detach", false, "do not watch it")
	return cmd
}

func needFiles(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("name a service file, or a folder with one")
	}
	return nil
}

func checkFormat(cmd *cobra.Command, format string) error {
	if format != "text" && format != "json" {
		return &usageError{cmd.CommandPath(), fmt.Errorf("output %q: write text or json", format)}
	}
	return nil
}

func (f *deployFlags) run(cmd *cobra.Command, args []string) error {
	bundles, err := packAll(cmd.ErrOrStderr(), args)
	if err != nil {
		return err
	}
	c, err := f.on.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	watch := newWatcher(cmd, c, f.format)
	var worst int
	for _, b := range bundles {
		if err := send(ctx, c, b); err != nil {
			return f.on.advise(err)
		}
		change, err := c.Submit(ctx, client.Submission{
			Service: string(b.Manifest.Service.Service), Manifest: hex.EncodeToString(b.Manifest.Digest[:]),
			Why: f.why, BreakGlass: f.breakGlass,
		})
		if err != nil {
			return f.on.advise(err)
		}
		if f.detach {
			if err := printChange(cmd.OutOrStdout(), f.format, change); err != nil {
				return err
			}
			continue
		}
		status, err := watch.follow(ctx, client.Of{Change: change.ID})
		if err != nil {
			return f.on.advise(err)
		}
		if status == notWatched {
			return ended(status) // and deploys no more
		}
		worst = worse(worst, status)
	}
	return ended(worst)
}

func printChange(w io.Writer, format string, c *client.Change) error {
	if format == "json" {
		return printJSON(w, c)
	}
	_, err := fmt.Fprintf(w, "%s %s %s -> %s\n", c.ID, c.Service, orNothing(c.From), c.To)
	return err
}

func orNothing(revision string) string {
	if revision == "" {
		return "nothing"
	}
	return revision
}

// packAll packs the service files of arguments. All of them are read before
// anything is sent.
func packAll(errs io.Writer, args []string) ([]*config.Bundle, error) {
	files, err := ownFiles(args)
	if err != nil {
		return nil, err
	}
	var out []*config.Bundle
	for _, file := range files {
		b, err := config.Pack(file)
		if err != nil {
			return nil, err
		}
		notes, err := checkBundle(file, b)
		if err != nil {
			return nil, err
		}
		sayNotes(errs, notes)
		out = append(out, b)
	}
	return out, nil
}

// send sends the blobs of a bundle that the node does not have, the manifest last.
func send(ctx context.Context, c *client.Client, b *config.Bundle) error {
	for _, blob := range b.Blobs {
		digest := hex.EncodeToString(blob.Digest[:])
		have, err := c.HasBlob(ctx, digest)
		if err != nil {
			return err
		}
		if have {
			continue
		}
		r, err := blob.Open()
		if err != nil {
			return fmt.Errorf("send %s: %w", blob.Name(), err)
		}
		err = c.PutBlob(ctx, digest, r)
		r.Close()
		if err != nil {
			return fmt.Errorf("send %s: %w", blob.Name(), err)
		}
	}
	return c.PutBlob(ctx, hex.EncodeToString(b.Manifest.Digest[:]), newReader(b.Data))
}

func planCommand() *cobra.Command {
	var on target
	var format string
	cmd := &cobra.Command{
		Use:   "plan [flags] FILE|FOLDER...",
		Short: "What a deploy would change, without changing it",
		Long: `Compare a service file with what runs, by routes and origins and not by lines.
The files that it names are compared by what is in them.`,
		Args: needFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(cmd, format); err != nil {
				return err
			}
			return sayProblems(cmd, runPlan(cmd, &on, format, args))
		},
		ValidArgsFunction: yamlFiles,
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func runPlan(cmd *cobra.Command, on *target, format string, args []string) error {
	bundles, err := packAll(cmd.ErrOrStderr(), args)
	if err != nil {
		return err
	}
	c, err := on.client()
	if err != nil {
		return err
	}
	var plans []*client.Plan
	for _, b := range bundles {
		p, err := c.Plan(cmd.Context(), b.Data)
		if err != nil {
			return on.advise(err)
		}
		plans = append(plans, p)
	}
	out := cmd.OutOrStdout()
	if format == "json" {
		return printJSON(out, plans)
	}
	for _, p := range plans {
		planPage{out, newUI(os.Stdout)}.show(p)
	}
	return nil
}

// planPage writes a plan for people.
type planPage struct {
	w io.Writer
	u ui
}

func (g planPage) show(p *client.Plan) {
	fmt.Fprintf(g.w, "\n  %s  %s -> %s\n\n", g.u.strong(p.Service), short(orNothing(p.From)), g.u.strong(short(p.To)))
	if len(p.Differences) == 0 {
		fmt.Fprintln(g.w, "  nothing is different")
	}
	for _, d := range p.Differences {
		sign := map[string]string{"added": g.u.ok("+"), "removed": g.u.bad("-"), "moved": g.u.watch("^")}[d.Sign]
		if sign == "" {
			sign = g.u.watch("~")
		}
		fmt.Fprintf(g.w, "  %s %-24s %s\n", sign, d.Part, d.Words)
	}
	fmt.Fprintln(g.w)
}

// short is the beginning of a revision's id, as people write it.
func short(revision string) string { return revision[:min(len(revision), 8)] }

func undoCommand() *cobra.Command {
	var on target
	var why, format, service string
	cmd := &cobra.Command{
		Use:   "undo [flags] [CHANGE]",
		Short: "Go back: what runs now, or a rollout that goes on",
		Long: `Take a change back: the last one, or the one that is named. What it returns to is
warm on every node; the change can be deployed again.

  selvage undo              the last change
  selvage undo c-7 -m "wrong prices"`,
		Args: atMostOneChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			return askRollout(cmd, &asking{on: &on, format: format, why: why, what: "undo", of: of(args, service)})
		},
		ValidArgsFunction: completeChanges(&on),
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	cmd.Flags().VarP(word{&why, "reason"}, "message", "m", "why, for the log of changes")
	serviceFlag(cmd, &on, &service)
	return cmd
}

func serviceFlag(cmd *cobra.Command, on *target, service *string) {
	cmd.Flags().Var(word{service, "name"}, "service", "the last change of this service, where no change is named")
	_ = cmd.RegisterFlagCompletionFunc("service", completeServices(on))
}

func of(args []string, service string) client.Of {
	o := client.Of{Service: service}
	if len(args) > 0 {
		o.Change = args[0]
	}
	return o
}

func atMostOneChange(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("name one change, not %d", len(args))
	}
	return nil
}

// asking is something that is asked of a rollout.
type asking struct {
	on                *target
	format, why, what string
	of                client.Of
}

func askRollout(cmd *cobra.Command, a *asking) error {
	c, err := a.on.clientFor(cmd, a.format)
	if err != nil {
		return err
	}
	do := map[string]func(context.Context, client.Of, string) (*client.Rollout, error){
		"undo": c.Undo, "hold": c.Hold, "promote": c.Promote, "break-glass": c.BreakGlass,
	}[a.what]
	r, err := do(cmd.Context(), a.of, a.why)
	if err != nil {
		return a.on.advise(err)
	}
	if client.Over(r.Change.State) {
		for p, err := range c.Watch(cmd.Context(), client.Of{Change: r.Change.ID}) {
			if err == nil {
				r = &p.Rollout // the nodes have said that they turned, or had their time
			}
		}
	}
	if a.format == "json" {
		return printJSON(cmd.OutOrStdout(), r)
	}
	rolloutPage{cmd.OutOrStdout(), newUI(os.Stdout)}.show(r)
	return nil
}

// columnsOf is how wide a terminal is, at least [maxColumns]; 0 if it is none.
func columnsOf(w io.Writer) int {
	if !isTerminal(w) {
		return 0
	}
	columns, _, err := term.GetSize(int(w.(descriptor).Fd()))
	if err != nil {
		return maxColumns
	}
	return max(columns, maxColumns)
}

func isTerminal(w io.Writer) bool {
	d, ok := w.(descriptor)
	return ok && term.IsTerminal(int(d.Fd()))
}

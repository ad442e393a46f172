package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/client"
)

// passFlags are the flags of rollout pass.
type passFlags struct {
	on                   target
	format, service, arm string
	lasts                time.Duration
}

func rolloutPassCommand() *cobra.Command {
	f := new(passFlags)
	cmd := &cobra.Command{
		Use: "pass [flags] [CHANGE]", Short: "Meet the canary yourself: a request field that chooses the arm", Args: atMostOneChange,
		Long: `Make a pass to one arm of a running rollout, and print the request field that carries it.

  curl -H "$(selvage rollout pass)" http://127.0.0.1:8080/p/17
  selvage rollout pass c-7 --arm baseline --for 10m

Requests with it meet that arm whatever the share is. They are not counted in the
judging, nothing rescues them, and their answers say in Selvage-Arm which arm made
them. It is good for this rollout alone, while both arms are served.`,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
		ValidArgsFunction: completeChanges(&f.on),
	}
	f.on.flags(cmd)
	outputFlag(cmd, &f.format)
	serviceFlag(cmd, &f.on, &f.service)
	f.arm = "canary"
	cmd.Flags().Var(word{&f.arm, "arm"}, "arm", "canary or baseline")
	cmd.Flags().DurationVar(&f.lasts, "for", time.Hour, "how long it is good, 24h at the most")
	_ = cmd.RegisterFlagCompletionFunc("arm", cobra.FixedCompletions([]string{"canary", "baseline"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f *passFlags) run(cmd *cobra.Command, args []string) error {
	if err := checkFormat(cmd, f.format); err != nil {
		return err
	}
	switch {
	case f.arm != "canary" && f.arm != "baseline":
		return &usageError{cmd.CommandPath(), fmt.Errorf("arm %q: write canary or baseline", f.arm)}
	case f.lasts < time.Second || f.lasts > 24*time.Hour:
		return &usageError{cmd.CommandPath(), fmt.Errorf("for %s: write 1s to 24h", f.lasts)}
	}
	c, err := f.on.client()
	if err != nil {
		return err
	}
	p, err := c.Pass(cmd.Context(), of(args, f.service), client.PassRequest{Arm: f.arm, Seconds: int(f.lasts / time.Second)})
	if err != nil {
		return f.on.advise(err)
	}
	if f.format == "json" {
		return printJSON(cmd.OutOrStdout(), p)
	}
	u := newUI(os.Stderr)
	fmt.Fprintf(cmd.ErrOrStderr(), "%s %s of %s, until %s\n", u.sign(signOK), u.strong(p.Arm), p.Change, p.Until.Local().Format("15:04:05"))
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", p.Field, p.Value)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/client"
)

func rolloutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rollout", Short: "How changes go through the fleet", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		rolloutStatusCommand(), rolloutShowCommand(),
		rolloutAskCommand("hold", "Stop a rollout where it stands", "hold"),
		rolloutAskCommand("promote", "End a hold or a wait; no gate is opened", "promote"),
		rolloutAskCommand("break-glass", "Shorten the gates of a rollout; none is left out", "break-glass"),
		rolloutPassCommand(),
	)
	return cmd
}

func rolloutStatusCommand() *cobra.Command {
	var on target
	var format, service string
	var watch bool
	cmd := &cobra.Command{
		Use: "status [flags] [CHANGE]", Short: "How a rollout stands: the last one, or the one that is named", Args: atMostOneChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := on.clientFor(cmd, format)
			if err != nil {
				return err
			}
			if watch {
				status, err := newWatcher(cmd, c, format).follow(cmd.Context(), of(args, service))
				if err == nil {
					return ended(status)
				}
				return on.advise(err)
			}
			return showRollout(cmd, &on, format, of(args, service))
		},
		ValidArgsFunction: completeChanges(&on),
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	serviceFlag(cmd, &on, &service)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "go on watching it, as deploy does")
	return cmd
}

func rolloutShowCommand() *cobra.Command {
	var on target
	var format string
	cmd := &cobra.Command{
		Use: "show [flags] CHANGE", Short: "A rollout with its whole receipt", Args: exactlyOne("change"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(cmd, format); err != nil {
				return err
			}
			return showRollout(cmd, &on, format, client.Of{Change: args[0]})
		},
		ValidArgsFunction: completeChanges(&on),
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func exactlyOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("name one %s", what)
		}
		return nil
	}
}

func showRollout(cmd *cobra.Command, on *target, format string, of client.Of) error {
	c, err := on.client()
	if err != nil {
		return err
	}
	r, err := c.Rollout(cmd.Context(), of)
	if err != nil {
		return on.advise(err)
	}
	if format == "json" {
		return printJSON(cmd.OutOrStdout(), r)
	}
	rolloutPage{cmd.OutOrStdout(), newUI(os.Stdout)}.show(r)
	return nil
}

func rolloutAskCommand(use, what, action string) *cobra.Command {
	var on target
	var format, why, service string
	cmd := &cobra.Command{
		Use: use + " [flags] [CHANGE]", Short: what, Args: atMostOneChange,
		RunE: func(cmd *cobra.Command, args []string) error {
			return askRollout(cmd, &asking{on: &on, format: format, why: why, what: action, of: of(args, service)})
		},
		ValidArgsFunction: completeChanges(&on),
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	serviceFlag(cmd, &on, &service)
	cmd.Flags().VarP(word{&why, "reason"}, "message", "m", "why, for the log of changes")
	return cmd
}

func changesCommand() *cobra.Command {
	var on target
	var format, service string
	var verify bool
	var most int
	cmd := &cobra.Command{
		Use: "changes [flags]", Short: "The log of changes: who, what, when, why, and how it ended", Args: noArgs,
		Long: `List the changes, the newest first.

With --verify the whole log is read and its chain of hashes is checked: an entry
that was altered, left out or put in is named, and the exit status is 1.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := on.clientFor(cmd, format)
			if err != nil {
				return err
			}
			if verify {
				return on.advise(verifyLog(cmd.Context(), c, cmd.OutOrStdout(), format))
			}
			page, err := c.Changes(cmd.Context(), service, "", most)
			if err != nil {
				return on.advise(err)
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), page)
			}
			changeTable(cmd.OutOrStdout(), newUI(os.Stdout), columnsOf(cmd.OutOrStdout()), page.Changes)
			return nil
		},
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	serviceFlag(cmd, &on, &service)
	cmd.Flags().IntVarP(&most, "most", "n", 20, "how many, 500 at the most")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the chain of the log's hashes")
	return cmd
}

// verifyLog checks the log by its own hashes; nothing that the node says of it is believed.
func verifyLog(ctx context.Context, c *client.Client, w io.Writer, format string) error {
	var chain client.Chain
	for e, err := range c.Log(ctx, 0) {
		if err == nil {
			err = chain.Next(e)
		}
		if err != nil {
			return err
		}
	}
	if format == "json" {
		return printJSON(w, map[string]any{"entries": chain.Position, "hash": chain.Hash})
	}
	_, err := fmt.Fprintf(w, "the log is whole: entries 1 to %s, the last one has the hash %s\n", grouped(int64(chain.Position)), chain.Hash)
	return err
}

// changeTable writes a line for each change, or two where one is too long for so many columns; 0: there is no limit.
func changeTable(w io.Writer, u ui, columns int, changes []client.Change) {
	if len(changes) == 0 {
		fmt.Fprintln(w, "no changes yet: selvage deploy makes one")
		return
	}
	for _, c := range changes {
		sign := signOK
		switch c.State {
		case client.Refused:
			sign = signBad
		case client.Held, client.Watching, client.Preparing, client.Replaying:
			sign = signWatch
		}
		why := c.Why
		if why != "" {
			why = fmt.Sprintf("%q", why)
		}
		what := fmt.Sprintf("  %s %s %-10s %s  %-20s", u.sign(sign), u.strong(fmt.Sprintf("%-6s", c.ID)), c.State,
			c.When.Local().Format("01-02 15:04:05"), fromTo(&c))
		who := strings.TrimSpace(cut(c.Service+" by "+c.Who, 30) + " " + cut(why, 40))
		between := "  "
		if columns > 0 && visible(what+between+who) > columns {
			between = "\n" + pad(11)
		}
		fmt.Fprintln(w, what+between+who)
	}
}

func revisionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "revision", Short: "The versions of services that can run", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var on, onShow target
	var format, formatShow, service string
	list := &cobra.Command{
		Use: "list [flags]", Short: "The revisions, the newest first", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := on.clientFor(cmd, format)
			if err != nil {
				return err
			}
			all, err := c.Revisions(cmd.Context(), service)
			if err != nil {
				return on.advise(err)
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), client.RevisionList{Revisions: all})
			}
			u := newUI(os.Stdout)
			for _, r := range all {
				sign := map[string]string{"promoted": u.sign(signOK), "canary": u.sign(signWatch)}[r.State]
				if sign == "" {
					sign = " "
				}
				fmt.Fprintf(cmd.OutOrStdout(), "  %s %s  %-8s  %-16s %s  %s, %s  %s\n", sign, u.strong(r.ID), r.State, r.Service,
					r.When.Local().Format("01-02 15:04:05"), count(r.Files, "file"), roundBytes(r.Bytes), r.Change)
			}
			return nil
		},
	}
	on.flags(list)
	outputFlag(list, &format)
	list.Flags().Var(word{&service, "name"}, "service", "of this service only")
	_ = list.RegisterFlagCompletionFunc("service", completeServices(&on))
	show := &cobra.Command{
		Use: "show [flags] REVISION", Short: "A revision's manifest: the service, and its files by their digests", Args: exactlyOne("revision"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := onShow.clientFor(cmd, formatShow)
			if err != nil {
				return err
			}
			r, err := c.Revision(cmd.Context(), args[0])
			if err != nil {
				return onShow.advise(err)
			}
			return printRevision(cmd.OutOrStdout(), formatShow, r)
		},
	}
	onShow.flags(show)
	outputFlag(show, &formatShow)
	cmd.AddCommand(list, show)
	return cmd
}

func printRevision(w io.Writer, format string, r *client.RevisionManifest) error {
	if format == "json" {
		return printJSON(w, r)
	}
	return printJSON(w, r.Contents)
}

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", Short: "Who may do what at the admin address", Args: noArgs,
		Long: `Tokens let people and programs in at the admin address. A viewer may look, an
operator may deploy, undo and purge, an admin may also make and revoke tokens. Who
comes in by the socket on the node's own machine is an admin.

The name of a token is who in the log of changes.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tokenCreateCommand(), tokenListCommand(), tokenRevokeCommand())
	return cmd
}

func tokenCreateCommand() *cobra.Command {
	var on target
	var format, role string
	cmd := &cobra.Command{
		Use: "create [flags] NAME", Short: "Make a token; it is shown this once", Args: exactlyOne("token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(cmd, format); err != nil {
				return err
			}
			if !slices.Contains(roleNames, role) {
				return &usageError{cmd.CommandPath(), fmt.Errorf("role %q: write viewer, operator or admin", role)}
			}
			c, err := on.client()
			if err != nil {
				return err
			}
			t, err := c.CreateToken(cmd.Context(), client.TokenRequest{Name: args[0], Role: role})
			if err != nil {
				return on.advise(err)
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), t)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s may act as %s from now on. This is the token; it cannot be shown again:\n", t.Name, t.Role)
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t.Secret)
			return err
		},
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	role = "viewer"
	cmd.Flags().Var(word{&role, "role"}, "role", "viewer, operator or admin")
	_ = cmd.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roleNames, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var roleNames = []string{"viewer", "operator", "admin"}

func tokenListCommand() *cobra.Command {
	var on target
	var format string
	cmd := &cobra.Command{
		Use: "list [flags]", Short: "The tokens, by their names", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := on.clientFor(cmd, format)
			if err != nil {
				return err
			}
			all, err := c.Tokens(cmd.Context())
			if err != nil {
				return on.advise(err)
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), client.TokenList{Tokens: all})
			}
			for _, t := range all {
				made := "in the node file"
				if !t.Created.IsZero() {
					made = t.Created.Local().Format(time.DateTime) + " by " + t.By
				}
				fmt.Fprintf(cmd.OutOrStdout(), "  %-20s %-9s %s\n", t.Name, t.Role, made)
			}
			return nil
		},
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func tokenRevokeCommand() *cobra.Command {
	var on target
	cmd := &cobra.Command{
		Use: "revoke [flags] NAME", Short: "End a token, at once", Args: exactlyOne("token"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := on.client()
			if err != nil {
				return err
			}
			if err := c.RevokeToken(cmd.Context(), args[0]); err != nil {
				return on.advise(err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is let in no more\n", args[0])
			return err
		},
	}
	on.flags(cmd)
	return cmd
}

// completing bounds how long a completion may ask the node.
const completing = 2 * time.Second

// completeChanges completes the ids of changes, with what they are.
func completeChanges(on *target) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		page, err := changesOf(cmd.Context(), on)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, c := range page {
			out = append(out, fmt.Sprintf("%s\t%s, %s", c.ID, c.Service, c.State))
		}
		return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	}
}

func changesOf(ctx context.Context, on *target) ([]client.Change, error) {
	if ctx == nil {
		return nil, errors.New("no context")
	}
	ctx, cancel := context.WithTimeout(ctx, completing)
	defer cancel()
	c, err := on.client()
	if err != nil {
		return nil, err
	}
	page, err := c.Changes(ctx, "", "", 50)
	return page.Changes, err
}

// completeServices completes the names of services.
func completeServices(on *target) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completing)
		defer cancel()
		c, err := on.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		s, err := c.Status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, one := range s.Services {
			out = append(out, one.Service)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

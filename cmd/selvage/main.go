// Command selvage is the edge cloud that you run yourself: one binary in front
// of your applications.
//
// Look at root in this file for the commands; each noun has a file of its own.
//
// It promises that stdout is the answer and stderr everything else, and that
// it exits with 0 when it is done, 1 when that failed and 2 when it was used
// wrongly. It refuses to hold logic that the packages could hold.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker in a release.
var version = ""

// The exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

//go:generate go test -count=1 -run TestReferenceIsCurrent . -generate

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := root()
	cmd.SetArgs(args)
	errs := newStream(os.Stderr)
	cmd.SetOut(newStream(os.Stdout))
	cmd.SetErr(errs)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if said, ok := errors.AsType[*saidError](err); ok {
		return said.status
	}
	out := newUI(os.Stderr)
	fmt.Fprintf(errs, "%s %v\n", out.bad("selvage:"), err)
	if usage, ok := errors.AsType[*usageError](err); ok {
		fmt.Fprintf(errs, "try: %s --help\n", usage.command)
		return exitUsage
	}
	return exitFailed
}

// saidError ends the program with a status; what went wrong is printed already.
type saidError struct{ status int }

func (e *saidError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// usageError is a command line that makes no sense.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "selvage",
		Short: "The edge cloud that you run yourself",
		Long: `Selvage stands in front of your applications: it routes, caches, limits and
recovers.

  selvage try                                   a toy shop, traffic and the edge
  selvage run --origin http://127.0.0.1:3000    the edge in front of yours
  selvage validate shop.yaml                    is this file right?
  selvage status                                how is the node on this machine?
  selvage purge tag:product-42                  forget it everywhere, with receipts`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       versionString(),
		Args:          noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	colour := os.Getenv(colourVariable)
	cmd.PersistentFlags().Var(word{&colour, "when"}, "color", "auto, always or never; auto is on a terminal ($"+colourVariable+")")
	_ = cmd.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(colourChoices, cobra.ShellCompDirectiveNoFileComp))
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if colour != "" && !slices.Contains(colourChoices, colour) {
			return &usageError{cmd.CommandPath(), fmt.Errorf("colour %q: write auto, always or never", colour)}
		}
		return os.Setenv(colourVariable, colour) // where newUI looks
	}
	cmd.SetVersionTemplate("{{.Version}}\n")
	cmd.SetUsageTemplate(strings.ReplaceAll(cmd.UsageTemplate(), ".FlagUsages", ".FlagUsagesWrapped 80"))
	cmd.SetHelpCommand(helpCommand())
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{cmd.CommandPath(), err}
	})
	cmd.AddCommand(tryCommand(), runCommand(), planCommand(), deployCommand(), undoCommand(), rolloutCommand(), changesCommand(),
		revisionCommand(), tokenCommand(), validateCommand(), configCommand(),
		statusCommand(), purgeCommand(), whyCommand(), completionCommand(), versionCommand(), compileCommand())
	usageArgs(cmd)
	return cmd
}

// noArgs is for commands without arguments. One with commands below it was
// meant to be given one of them.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case !cmd.HasSubCommands():
		return fmt.Errorf("%s takes no arguments, got %q", cmd.Name(), args[0])
	}
	err := fmt.Errorf("unknown command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w: did you mean %q?", err, near[0])
	}
	return err
}

func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Say how a command is used",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil {
				err = noArgs(of, rest)
			}
			if err != nil {
				return &usageError{cmd.Root().CommandPath(), err}
			}
			of.InitDefaultHelpFlag()
			return of.Help()
		},
	}
}

// usageArgs makes wrong arguments a wrong use, on every command.
func usageArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return &usageError{c.CommandPath(), err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		usageArgs(c)
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), versionString()) },
	}
}

// versionString is the release, else the commit that the binary was built from.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script for bash, zsh, fish or powershell",
		Long: `Print the completion script for a shell.

  bash:        selvage completion bash > /etc/bash_completion.d/selvage
  zsh:         selvage completion zsh > "${fpath[1]}/_selvage"
  fish:        selvage completion fish > ~/.config/fish/completions/selvage.fish
  powershell:  selvage completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return errors.New("write bash, zsh, fish or powershell")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			out := asIs(cmd.OutOrStdout())
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(out, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(out)
			case "fish":
				return cmd.Root().GenFishCompletion(out, true)
			}
			return cmd.Root().GenPowerShellCompletionWithDesc(out)
		},
	}
}

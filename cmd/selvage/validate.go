package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/node"
)

func validateCommand() *cobra.Command {
	var nodeFile, format string
	cmd := &cobra.Command{
		Use:   "validate [-c NODE.yaml] SERVICE.yaml|FOLDER...",
		Short: "Say whether files are right, and every mistake if not",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if nodeFile == "" && len(args) == 0 {
				found := config.FindService()
				if found == "" {
					return &usageError{cmd.CommandPath(), errors.New("name a service file, or a node file with -c")}
				}
				args = []string{found}
			}
			files, err := ownFiles(args)
			if err != nil {
				return err
			}
			return validate(cmd, nodeFile, files, format)
		},
		ValidArgsFunction: yamlFiles,
	}
	cmd.Flags().VarP(word{&nodeFile, "file"}, "config", "c", "node file")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	outputFlag(cmd, &format)
	return cmd
}

func validate(cmd *cobra.Command, nodeFile string, files []string, format string) error {
	l, err := config.Load(nodeFile, files)
	problems, ok := errors.AsType[selvage.Problems](err)
	if err != nil && !ok {
		return err
	}
	var notes []string
	if err == nil {
		notes, problems = checkFiles(new(node.Checks), l)
	}
	sayNotes(cmd.ErrOrStderr(), notes)
	if format == "json" {
		if problems == nil {
			problems = selvage.Problems{}
		}
		if err := printJSON(cmd.OutOrStdout(), problems); err != nil {
			return err
		}
	} else if len(problems) > 0 {
		fmt.Fprint(cmd.OutOrStdout(), newUI(os.Stdout).problems(problems))
		fmt.Fprintf(cmd.ErrOrStderr(), "\n%s; nothing was changed\n", mistakes(problems))
	} else {
		sayValid(cmd.OutOrStdout(), newUI(os.Stdout), l)
	}
	if len(problems) > 0 {
		return &saidError{exitFailed}
	}
	return nil
}

func sayValid(w io.Writer, u ui, l *config.Loaded) {
	if l.NodeFile != "" {
		fmt.Fprintf(w, "%s: %s\n", l.NodeFile, u.ok("valid"))
	}
	for i, file := range l.ServiceFiles {
		s := &l.Services[i]
		fmt.Fprintf(w, "%s: %s. service %s, %s, %s; revision %s\n", file, u.ok("valid"), s.Service,
			count(len(s.Routes), "route"), count(len(s.Origins), "origin"), revisionWords(file, s, l.Outside[s.Service]))
	}
}

// revisionWords is what plan and deploy call the revision of a file, or, where
// it is for this machine alone, what run calls it.
func revisionWords(file string, s *selvage.Service, o selvage.Outside) string {
	if b, err := config.Pack(file); err == nil {
		return string(b.Manifest.ID) + " when it is deployed"
	}
	return localRevision(s, o) + ", on this machine alone"
}

// localRevision is what a file's revision is called where it is run.
func localRevision(s *selvage.Service, o selvage.Outside) string {
	id, err := config.LocalRevision(*s, o)
	if err != nil {
		return "unknown"
	}
	return string(id)
}

// mistakes counts them, and names the file if it is one.
func mistakes(ps selvage.Problems) string {
	words := count(len(ps), "mistake")
	if !slices.ContainsFunc(ps, func(p selvage.Problem) bool { return p.File != ps[0].File }) {
		words += " in " + ps[0].File
	}
	return words
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", grouped(int64(n)), noun)
}

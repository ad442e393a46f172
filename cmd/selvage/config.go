package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Show and explain the configuration", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configShowCommand(), configExplainCommand(), configSchemaCommand())
	return cmd
}

func configShowCommand() *cobra.Command {
	f := new(runFlags)
	cmd := &cobra.Command{
		Use:   "show [-c NODE.yaml] [SERVICE.yaml|FOLDER...]",
		Short: "Print the whole configuration with every default",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.take(cmd, args); err != nil {
				return err
			}
			out, err := f.show()
			if err != nil {
				return sayProblems(cmd, err)
			}
			_, err = asIs(cmd.OutOrStdout()).Write(out)
			return err
		},
		ValidArgsFunction: yamlFiles,
	}
	cmd.Flags().VarP(word{&f.nodeFile, "file"}, "config", "c", "node file")
	cmd.Flags().Var(word{&f.origin, "URL"}, "origin", "the service of run --origin, instead of files")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	return cmd
}

// show is the node and the services, each a YAML document.
func (f *runFlags) show() ([]byte, error) {
	if f.origin != "" {
		s, err := config.Quick(f.origin)
		if err != nil {
			return nil, err
		}
		return config.ShowService(s), nil
	}
	files, err := ownFiles(f.files)
	if err != nil {
		return nil, err
	}
	l, err := config.Load(f.nodeFile, files)
	if err != nil {
		return nil, err
	}
	return l.Show(), nil
}

func configExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [FIELD]",
		Short: "Say what a field means, such as routes.cache.ttl",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			words, err := config.Explain(strings.Join(args, ""))
			if err != nil {
				return err
			}
			for line := range strings.Lines(words) {
				if len([]rune(line)) > maxColumns {
					line = wrap(line, "")
				}
				fmt.Fprint(cmd.OutOrStdout(), line)
			}
			return nil
		},
	}
}

func configSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema service|node",
		Short:     "Print the JSON Schema of a service or a node file",
		ValidArgs: config.Kinds(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(config.Kinds(), args[0]) {
				return errors.New("write " + strings.Join(config.Kinds(), " or "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			schema, err := config.Schema(args[0])
			if err != nil {
				return err
			}
			_, err = asIs(cmd.OutOrStdout()).Write(schema)
			return err
		},
	}
}

package main

import (
	"fmt"
	"os"
	"runtime"

	"github.com/selvage-edge/selvage/compute"
	"github.com/spf13/cobra"
)

// compileName is the command that a node starts for itself. Nobody else has a use for it.
const compileName = "compile-function"

// compiler is how a node starts another process of this program that compiles
// functions: the file that runs, also where another one has its name by now.
func compiler() []string {
	file := "/proc/self/exe"
	if runtime.GOOS != "linux" {
		var err error
		if file, err = os.Executable(); err != nil {
			return nil
		}
	}
	return []string{file, "selvage", compileName}
}

func compileCommand() *cobra.Command {
	return &cobra.Command{
		Use: compileName + " FOLDER", Hidden: true, Args: cobra.ExactArgs(1),
		Short: "Compile a metered module into a folder, for a node",
		RunE: func(cmd *cobra.Command, args []string) error {
			status, err := compute.CompileApart(cmd.Context(), args[0], cmd.InOrStdin())
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return &saidError{status}
			}
			return nil
		},
	}
}

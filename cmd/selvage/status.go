package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage/client"
)

// target says which node a command speaks to.
type target struct{ data, address string }

func (t *target) flags(cmd *cobra.Command) {
	t.data, t.address = os.Getenv("SELVAGE_DATA"), os.Getenv("SELVAGE_ADDRESS")
	cmd.Flags().Var(word{&t.data, "folder"}, "data", "data folder of a node on this machine ($SELVAGE_DATA)")
	cmd.Flags().Var(word{&t.address, "URL"}, "address", "admin address of another node ($SELVAGE_ADDRESS)")
	_ = cmd.MarkFlagDirname("data")
}

// client finds the node. A token comes from the environment only, so that it
// does not stand in the list of processes.
func (t *target) client() (*client.Client, error) {
	switch {
	case t.address != "":
		return client.New(client.Options{Address: t.address, Token: os.Getenv("SELVAGE_TOKEN")})
	case t.data != "":
		return client.Find(t.data)
	}
	return client.Find(append(dataFolders(), tryFolders()...)...)
}

// clientFor is client, for a command that prints in a format.
func (t *target) clientFor(cmd *cobra.Command, format string) (*client.Client, error) {
	if err := checkFormat(cmd, format); err != nil {
		return nil, err
	}
	return t.client()
}

// advise says what to do now where a node did not let us in.
func (t *target) advise(err error) error {
	p, ok := errors.AsType[*client.Problem](err)
	switch {
	case ok && p.Status == http.StatusForbidden && t.address != "":
		return fmt.Errorf("%w: use a token of that role, which selvage token create --role makes on the node's own machine", err)
	case !ok || p.Status != http.StatusUnauthorized:
		return err
	case os.Getenv("SELVAGE_TOKEN") == "":
		return fmt.Errorf("%s wants a token: put it into $SELVAGE_TOKEN; selvage token create makes one on the node's own machine", t.address)
	}
	return fmt.Errorf("%s does not know the token in $SELVAGE_TOKEN: selvage token create makes another on the node's own machine", t.address)
}

func statusCommand() *cobra.Command {
	var on target
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "How the node is: services, origins, store, the last minute", Args: noArgs,
		Long: `Show how a node is.

Without flags it is the node on this machine, found by the control socket in its
data folder. With --address http://10.0.0.1:9440 it is another one; its token is
read from $SELVAGE_TOKEN.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return &usageError{cmd.CommandPath(), fmt.Errorf("output %q: write text or json", format)}
			}
			c, err := on.client()
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return on.advise(err)
			}
			if format == "json" {
				return printJSON(cmd.OutOrStdout(), s)
			}
			statusPage{cmd.OutOrStdout(), newUI(os.Stdout), time.Now()}.node(s)
			return nil
		},
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func outputFlag(cmd *cobra.Command, format *string) {
	*format = "text"
	cmd.Flags().VarP(word{format, "form"}, "output", "o", "text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

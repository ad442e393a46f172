package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// target says which node a command speaks to.
type target struct{ data, address, token string }

func (t *target) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.data, "data", os.Getenv("SELVAGE_DATA"), "data folder of the node on this machine ($SELVAGE_DATA)")
	cmd.Flags().StringVar(&t.address, "address", os.Getenv("SELVAGE_ADDRESS"), "admin address of another node, such as http://10.0.0.1:9440 ($SELVAGE_ADDRESS)")
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
	return client.Find(dataFolders()...)
}

func statusCommand() *cobra.Command {
	var on target
	var format string
	cmd := &cobra.Command{
		Use: "status", Short: "How the node is: services, origins, store, the last minute", Args: cobra.NoArgs,
		Long: `Show how a node is.

Without flags it is the node on this machine, found by the control socket in its
data folder. With --address it is another one; its token is read from
$SELVAGE_TOKEN.`,
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
				return err
			}
			if format == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			printStatus(cmd.OutOrStdout(), newUI(os.Stdout), s, time.Now())
			return nil
		},
	}
	on.flags(cmd)
	outputFlag(cmd, &format)
	return cmd
}

func outputFlag(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVarP(format, "output", "o", "text", "text or json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
}

func printStatus(w io.Writer, u ui, s *client.Status, now time.Time) {
	glyph := u.okGlyph()
	if s.State != "ready" {
		glyph = u.watchGlyph()
	}
	fmt.Fprintf(w, "%s %s  %s   POP %s, zone %s   up %s   %s\n", glyph, u.strong(s.Node), s.State, s.POP, s.Zone,
		now.Sub(s.Started).Round(time.Second), u.dim(s.Version))
	for _, l := range s.Listeners {
		scheme := "http"
		if l.TLS {
			scheme = "https"
		}
		fmt.Fprintf(w, "  listens    %s://%s\n", scheme, l.Address)
	}
	fmt.Fprintf(w, "  clients    %d HTTP/1.1, %d HTTP/2, %d upgraded\n", s.Connections.HTTP1, s.Connections.HTTP2, s.Connections.Upgraded)
	fmt.Fprintf(w, "  store      %d objects, %s of %s\n", s.Cache.Objects, roundBytes(s.Cache.Bytes), selvage.ByteSize(s.Cache.MaxBytes))
	for i := range s.Services {
		fmt.Fprintln(w)
		printService(w, u, &s.Services[i])
	}
}

func printService(w io.Writer, u ui, s *client.Service) {
	owner := ""
	if s.Owner != "" {
		owner = "   " + s.Owner
	}
	fmt.Fprintf(w, "%s   tier %d%s   %s   revision %s   %d routes\n", u.strong(s.Service), s.Tier, owner,
		strings.Join(s.Hosts, ", "), s.Revision, s.Routes)
	t := s.LastMinute
	fmt.Fprintf(w, "  last 60 s  %d requests, %s bad, %s hits, p50 %s, p99 %s\n",
		t.Requests, share(t.Bad, t.Requests), share(t.Hits, t.Requests), millis(t.P50MS), millis(t.P99MS))
	if o := s.Objectives; o.Availability > 0 && t.Requests > 0 {
		good := 1 - float64(t.Bad)/float64(t.Requests)
		word := u.okGlyph() + " kept"
		if good < o.Availability {
			word = u.badGlyph() + " missed"
		}
		fmt.Fprintf(w, "  promised   %s available: %s, %s in the last 60 s\n", selvage.Percent(o.Availability), word, selvage.Percent(good))
	}
	if o := s.Objectives; o.P99MS > 0 && t.Requests > 0 {
		word := u.okGlyph() + " kept"
		if t.P99MS > o.P99MS {
			word = u.badGlyph() + " missed"
		}
		fmt.Fprintf(w, "  promised   p99 %s: %s, %s in the last 60 s\n", millis(o.P99MS), word, millis(t.P99MS))
	}
	tw := tabwriter.NewWriter(w, 2, 0, 2, ' ', 0)
	defer tw.Flush()
	for _, o := range s.Origins {
		if o.Folder != "" {
			fmt.Fprintf(tw, "  %s\t%s in\tfolder %s\n", o.Origin, u.okGlyph(), o.Folder)
		}
		for _, e := range o.Endpoints {
			printEndpoint(tw, u, o.Origin, e)
		}
	}
}

func printEndpoint(w io.Writer, u ui, origin string, e client.Endpoint) {
	glyph, why := u.okGlyph(), ""
	if e.State != "in" {
		glyph = u.badGlyph()
	}
	if e.Why != "" {
		why = ": " + e.Why
	}
	name := e.Endpoint
	if e.Address != "" && !strings.Contains(e.Endpoint, e.Address) {
		name += " (" + e.Address + ")"
	}
	fmt.Fprintf(w, "  %s\t%s %s%s\t%s\t%d in flight\t%s\n", origin, glyph, e.State, why, name, e.InFlight, millis(e.LatencyMS))
}

func share(part, whole int64) string {
	if whole == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.1f %%)", part, 100*float64(part)/float64(whole))
}

func millis(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func roundBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

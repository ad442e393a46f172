package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// table is the report of all runs.
func table(f flags, all []result, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Recovery, with real load\n\n")
	fmt.Fprintf(&b, "`%s`, on %s, took %s. %s\n\n", f.command(), time.Now().UTC().Format("2006-01-02"), took.Round(time.Second), machine())
	b.WriteString(`Three nodes in three POPs with the toy shop as their origin, in one process over sockets of this machine. The rate is of
requests at the nodes. Most of them are answered from the cache: the changes fail for the cart, which is a fifth to a fourth of the requests.
Shoppers are as with selvage try: one request in 2 s each, a new address with each visit of some twenty requests. Bads, users and the canary's first
making are counted at the shop, those of bad-memory by the nodes; of bad-trap, bads are answers at which its function traps, and users are the 5xx that anybody got. A time is from the canary's first making to the decision. Medians, in brackets the greatest.

| change | requests/s | undone | promoted | neither | bads served | users hurt | undone after | back after a crash | to 95 % | lost | target |
|---|---|---|---|---|---|---|---|---|---|---|---|
`)
	for _, r := range rows {
		for _, rate := range f.rates {
			of := slices.DeleteFunc(slices.Clone(all), func(v result) bool { return v.rate != rate || v.row.title() != r.title() })
			if len(of) > 0 {
				b.WriteString(line(r, rate, of))
			}
		}
	}
	b.WriteString("\nThe last words of each kind:\n\n")
	said := map[string]bool{}
	for _, r := range all {
		if key := fmt.Sprintf("%s at %d/s", r.row.title(), r.rate); !said[key] && r.receipt.Words != "" {
			said[key] = true
			fmt.Fprintf(&b, "- %s: %s\n", key, r.receipt.Words)
		}
	}
	return b.String()
}

func (f flags) command() string {
	c := fmt.Sprintf("go run ./bench/recovery -times %d -rates %s", f.times, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(f.rates)), ","), "[]"))
	if len(f.only) > 0 {
		c += " -only " + strings.Join(f.only, ",")
	}
	return c
}

// machine is what it was measured on, and which sources.
func machine() string {
	version := "unknown sources"
	if out, err := exec.CommandContext(context.Background(), "git", "describe", "--always", "--dirty").Output(); err == nil {
		version = "sources " + strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s %s/%s, %d cores, %s.", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), version)
}

// line is one row of the table.
func line(r row, rate int, of []result) string {
	count := func(state string) int {
		n := 0
		for _, v := range of {
			if v.state == state || state == client.Undone && v.state == client.Refused {
				n++
			}
		}
		return n
	}
	undone, promoted := count(client.Undone), count(client.Promoted)
	in := func(state string, value func(result) float64) []float64 {
		var out []float64
		for _, v := range of {
			if state == "" || v.state == state || state == client.Undone && v.state == client.Refused {
				out = append(out, value(v))
			}
		}
		return out
	}
	lost := int64(0)
	var backs []float64
	for _, v := range of {
		lost += v.lost
		if v.back > 0 {
			backs = append(backs, v.back.Seconds())
		}
	}
	wrong := ""
	if r.healthy && undone > 0 {
		wrong = " **false**"
	}
	return fmt.Sprintf("| %s | %d | %d%s | %d | %d | %s | %s | %s | %s | %s | %d | %s |\n", r.title(), rate, undone, wrong, promoted, len(of)-undone-promoted,
		middle(in("", func(v result) float64 { return float64(v.bads) }), ""),
		middle(in("", func(v result) float64 { return float64(v.users) }), ""),
		middle(in(client.Undone, func(v result) float64 { return v.took.Seconds() }), " s"),
		middle(backs, " s"),
		middle(in(client.Promoted, func(v result) float64 { return v.asked.Seconds() }), " s"),
		lost, cmp.Or(r.target[rate], "–"))
}

// middle is the median and the greatest of values, in words.
func middle(v []float64, unit string) string {
	if len(v) == 0 {
		return "–"
	}
	slices.Sort(v)
	return fmt.Sprintf("%s%s (%s)", short(v[len(v)/2]), unit, short(v[len(v)-1]))
}

func short(v float64) string {
	if v == float64(int64(v)) || v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

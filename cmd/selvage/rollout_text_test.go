package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// A purge leads from a revision to the same one: what is said of it is what becomes of what is stored.
func TestAPurgeIsShownAsWhatItForgets(t *testing.T) {
	for state, want := range map[string]string{
		client.Watching:   "selvage",
		client.Promoted:   "all of before is forgotten",
		client.Undone:     "what was not fetched anew is used again",
		client.Superseded: "what was not fetched anew is used again",
	} {
		var out bytes.Buffer
		r := client.Rollout{
			Change: client.Change{ID: "c-7", Kind: "purge", Service: "shop", From: "0123456789abcdef", To: "0123456789abcdef", State: state},
			Unit:   "forwards",
		}
		if client.Over(state) {
			r.Receipt = &client.Receipt{Revision: "0123456789abcdef", Bad: 3, Makings: 9, Baseline: 1200, Lead: "origin 5xx", Rate: 0.3, ToOne: 4000}
		}
		page := rolloutPage{&out, ui{}}
		page.show(&r)
		changeTable(&out, ui{}, 0, []client.Change{r.Change})
		lines := lines{w: &out}
		lines.show(&client.Progress{Event: "planned", Time: time.Now(), Rollout: client.Rollout{Change: client.Change{ID: "c-7", Kind: "purge", Service: "shop"}}})
		out.WriteString(page.hints(&r))
		got := out.String()
		if strings.Count(got, "forgets what is stored") != 3 || !strings.Contains(got, want) {
			t.Errorf("%s: want %q in\n%s", state, want, got)
		}
		if r.Receipt != nil && !strings.Contains(got, "of 1,200 baseline forwards") {
			t.Errorf("%s: it does not say what the arms made\n%s", state, got)
		}
		for _, wrong := range []string{"->", "01234567", "back on", "go back"} {
			if strings.Contains(got, wrong) {
				t.Errorf("%s: %q is in\n%s", state, wrong, got)
			}
		}
	}
}

func TestARevisionIsShownAsWhereItLeads(t *testing.T) {
	c := client.Change{Kind: "revision", From: "0123456789abcdef", To: "fedcba9876543210"}
	if got := fromTo(&c); got != "01234567 -> fedcba98" {
		t.Errorf("got %q", got)
	}
}

func TestTheLogOfChangesFitsTheTerminal(t *testing.T) {
	c := client.Change{ID: "c-7", Kind: "revision", Service: "shop", Who: "mira", Why: "prices in euro", State: client.Promoted, From: "0123456789abcdef", To: "fedcba9876543210"}
	for columns, lines := range map[int]int{0: 1, 80: 2, 120: 1} {
		var out bytes.Buffer
		changeTable(&out, ui{}, columns, []client.Change{c})
		got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(got) != lines || !strings.HasSuffix(got[lines-1], `shop by mira "prices in euro"`) {
			t.Errorf("%d columns: %q", columns, got)
		}
		for _, line := range got {
			if columns > 0 && visible(line) > columns {
				t.Errorf("%d columns: %d in %q", columns, visible(line), line)
			}
		}
	}
}

// A line is never longer than the terminal is at least, and figures stand under each other.
func TestARunningRolloutFitsTheNarrowestTerminal(t *testing.T) {
	r := client.Rollout{
		Change: client.Change{ID: "c-7", Service: "shop", From: "0123456789abcdef", To: "fedcba9876543210", State: client.Watching},
		Share:  0.5, POPs: []string{"ams", "fra"}, Makings: [2]int64{1081, 1256}, ToUndo: client.Evidence{ToOne: 1, Bound: 1000},
		Gate: &client.Gate{Next: 0.95, ToOne: 1.7, Bound: 50, Words: "watching: 1,081 makings so far, about 673 more for ε = 0.5 % (slower than q75)"},
		Indicators: []client.Indicator{
			{Name: "slower than q75", Bad: [2]int64{298, 315}}, {Name: "slower than q99", Bad: [2]int64{7, 27}},
		},
	}
	got := rolloutPage{nil, ui{}}.live(&r)
	var under []int
	for line := range strings.SplitSeq(got, "\n") {
		if visible(line) > maxColumns {
			t.Errorf("%d columns: %q", visible(line), line)
		}
		if i := strings.Index(line, "baseline"); i > 0 {
			under = append(under, i)
		}
	}
	if len(under) != 2 || under[0] != under[1] || !strings.Contains(strings.Join(strings.Fields(got), " "), "ε = 0.5 % (slower than q75)") {
		t.Errorf("got\n%s", got)
	}
}

func TestWhatAPromotedChangeDidNotDoIsNotSaid(t *testing.T) {
	r := client.Rollout{
		Change:  client.Change{ID: "c-7", Service: "shop", To: "fedcba9876543210", State: client.Promoted},
		Receipt: &client.Receipt{Outcome: client.Promoted, Makings: 1512, First: &client.First{Record: "r", Method: "GET", Path: "/"}, Words: "promoted: ε = 0.5 %"},
	}
	if got := (rolloutPage{nil, ui{}}).receipt(&r); strings.Contains(got, "first ") {
		t.Errorf("got\n%s", got)
	}
	r.Receipt.Served = 1
	if got := (rolloutPage{nil, ui{}}).receipt(&r); !strings.Contains(got, "first ") {
		t.Errorf("with a bad answer: got\n%s", got)
	}
}

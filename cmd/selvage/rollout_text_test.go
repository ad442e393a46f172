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
		changeTable(&out, ui{}, []client.Change{r.Change})
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

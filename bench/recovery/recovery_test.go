package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

func ask(t *testing.T, w *witness, host, path, visit string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if visit != "" {
		req.AddCookie(&http.Cookie{Name: "visit", Value: visit})
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestWitnessCountsWhatTheCanaryMadeForUsers(t *testing.T) {
	for host, bads := range map[string]int64{
		"always-500.bad.example": 2, "empty.bad.example": 2, "loop.bad.example": 2, "slower.bad.example": 2, "offers.bad.example": 0, "good.example": 0, "127.0.0.1": -1,
	} {
		w, err := newWitness(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		w.begin()
		ask(t, w, host, "/api/cart", "one")
		ask(t, w, host, "/api/cart", "one")
		ask(t, w, host, "/api/cart", "") // a replay
		w.close()
		made, _, _ := w.now()
		want := account{n: 2, bad: bads}
		if bads < 0 {
			want = account{} // not the canary
		}
		if made.n != want.n || made.bad != want.bad || len(made.users) != int(min(want.bad, 1)) {
			t.Errorf("%s: %d made, %d bad for %d users; want %+v", host, made.n, made.bad, len(made.users), want)
		}
	}
}

func TestTableHasMediansAndSaysWhatWasWrong(t *testing.T) {
	good, bad := rows[len(rows)-2], rows[0]
	f := flags{times: 3, rates: []int{1000}}
	var all []result
	for i := range 3 {
		all = append(all,
			result{row: bad, rate: 1000, state: client.Undone, bads: int64(i), users: 1, took: time.Duration(i) * time.Second},
			result{row: good, rate: 1000, state: client.Promoted, asked: 50 * time.Second})
	}
	all[1].state, all[1].took = client.Undone, 7*time.Second
	text := table(f, all, time.Minute)
	for _, want := range []string{
		"go run ./bench/recovery -times 3 -rates 1000",
		"| bad-500 | 1000 | 3 | 0 | 0 | 1 (2) | 1 (1) | 1 s (2) | – | – | 0 | ≤ 10 bads, ≤ 3 s |",
		"| good | 1000 | 1 **false** | 2 | 0 | 0 (0) | 0 (0) | 7 s (7) | – | 50 s (50) | 0 | 95 % ≤ 75 s |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table has no %q:\n%s", want, text)
		}
	}
}

func TestExamplesAreFoundFromEveryFolderOfTheModule(t *testing.T) {
	folder, err := ownExamples()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if _, err := os.Stat(filepath.Join(folder, r.name, "shop.yaml")); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(t.TempDir())
	if _, err := ownExamples(); err == nil || !strings.Contains(err.Error(), "run it in a folder of the module") {
		t.Errorf("outside of the module: got %v", err)
	}
}

func TestFleetTakesADeployAndItsUndo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	f, err := newFleet(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.end()
	f.load(30)
	change, err := f.deploy(ctx, "../../examples/bad-500/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.back(ctx, change.ID); err != nil || f.failed() != nil {
		t.Error(err, f.failed())
	}
}

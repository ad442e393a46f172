package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
)

// A node that dies in the middle of a rollout is waited for: its stream breaks,
// then it is not ready, then it tells how things stand.
func TestWatchGoesOnAfterTheNodeWasAway(t *testing.T) {
	var asked atomic.Int64
	tell := func(w http.ResponseWriter, state string) {
		data, err := json.Marshal(Progress{Event: state, Rollout: Rollout{Change: Change{ID: "c-7", State: state}}})
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: progress\ndata: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
	}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1:
			tell(w, Watching)
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"title": "not yet", "status": 503}`)
		default:
			tell(w, Undone)
		}
	}))
	defer node.Close()
	c, err := New(Options{Address: node.URL})
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for p, err := range c.Watch(t.Context(), Of{Change: "c-7"}) {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, p.Rollout.Change.State)
	}
	if !slices.Equal(states, []string{Watching, Undone}) || asked.Load() != 3 {
		t.Errorf("told %v in %d streams", states, asked.Load())
	}
}

func TestWatchOfWhatIsRefusedEnds(t *testing.T) {
	var asked atomic.Int64
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"title": "there is none", "status": 404}`)
	}))
	defer node.Close()
	c, err := New(Options{Address: node.URL})
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for _, err := range c.Watch(t.Context(), Of{Change: "c-7"}) {
		last = err
	}
	if last == nil || asked.Load() != 1 {
		t.Errorf("%v after %d streams", last, asked.Load())
	}
}

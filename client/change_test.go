package client

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// logOf writes a log as the server does: each entry holds the hash of the one before.
func logOf(t *testing.T, whys ...string) []LogEntry {
	t.Helper()
	var out []LogEntry
	previous := ""
	for i, why := range whys {
		data, err := json.Marshal(LogFact{
			Previous: previous, Event: "submitted", When: time.Unix(int64(i), 0).UTC(), Change: Change{ID: "c-1", Why: why},
		})
		if err != nil {
			t.Fatal(err)
		}
		previous = LogHash(data)
		out = append(out, LogEntry{Position: uint64(i + 1), Hash: previous, Entry: data})
	}
	return out
}

func TestChainSurvivesBeingSent(t *testing.T) {
	plain, err := json.Marshal(logOf(t, "a <b> & \"c\" \u2028", "é", ""))
	if err != nil {
		t.Fatal(err)
	}
	var got []LogEntry
	if err := json.Unmarshal(plain, &got); err != nil {
		t.Fatal(err)
	}
	var chain Chain
	for _, e := range got {
		if err := chain.Next(e); err != nil {
			t.Error(err)
		}
	}
	if chain.Position != 3 {
		t.Errorf("verified up to %d, want 3", chain.Position)
	}
}

func TestChainFindsWhatWasDone(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		do         func([]LogEntry) []LogEntry
	}{
		{"an entry is missing", "log entry 2 is missing", func(l []LogEntry) []LogEntry { return append(l[:1], l[2:]...) }},
		{"the first is missing", "log entry 1 is missing", func(l []LogEntry) []LogEntry { return l[1:] }},
		{"an entry was altered", "log entry 2 was altered", func(l []LogEntry) []LogEntry {
			l[1].Entry = json.RawMessage(strings.Replace(string(l[1].Entry), "two", "2wo", 1))
			return l
		}},
		{"an entry was altered with its hash", "log entry 3 does not follow 2", func(l []LogEntry) []LogEntry {
			l[1].Entry = json.RawMessage(strings.Replace(string(l[1].Entry), "two", "2wo", 1))
			l[1].Hash = LogHash(l[1].Entry)
			return l
		}},
		{"an entry is no JSON", "log entry 1: ", func(l []LogEntry) []LogEntry {
			l[0].Entry = json.RawMessage("{")
			return l
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var chain Chain
			var err error
			for _, e := range tt.do(logOf(t, "one", "two", "three")) {
				if err = chain.Next(e); err != nil {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

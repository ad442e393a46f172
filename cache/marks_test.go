package cache

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestForgottenMarksPurgeTheirElders(t *testing.T) {
	m := marks{most: 4}
	for i := range 10 {
		m.set(markKey{kind: tagMark, name: fmt.Sprint(i)}, nil, stamp{hard: uint64(i + 1)})
		m.set(markKey{kind: tagMark, name: "often"}, nil, stamp{hard: uint64(i + 1)})
	}
	l := &ledger{marks: m}
	l.last.Store(10)
	key := testKey("")
	for _, tt := range []struct {
		position uint64
		tag      string
		want     fate
	}{
		{9, "9", hardPurged},     // remembered, requested just before
		{10, "9", unpurged},      // and just after
		{9, "often", hardPurged}, // renewed with each: the oldest is another one
		{0, "0", hardPurged},     // forgotten, but older
		{6, "x", hardPurged},     // never purged, but older than what is forgotten
		{7, "x", unpurged},       // younger
		{7, "8", hardPurged},     // remembered
	} {
		if got, _ := l.fate(&key, &answer{position: tt.position, tags: []string{tt.tag}}); got != tt.want {
			t.Errorf("requested at %d with tag %s: got %d, want %d", tt.position, tt.tag, got, tt.want)
		}
	}
	if len(m.at) != 4 || len(m.order) > 8 {
		t.Errorf("%d marks and %d places in the order are kept, want 4 and at most 8", len(m.at), len(m.order))
	}
}

func TestMarksKeepTheirBounds(t *testing.T) {
	var m marks
	for i := range 200_000 {
		key := markKey{kind: pathMark, host: "shop.example", name: "/" + strings.Repeat("x", i%4000)}
		m.set(key, &query{text: strings.Repeat("q", i%997)}, purgedAt(uint64(i+1), i%2 == 0, time.Now()))
		if m.bytes > maxMarkBytes || len(m.at) > MaxMarks || len(m.order) > 2*MaxMarks {
			t.Fatalf("after %d: %d bytes, %d marks, %d in order", i, m.bytes, len(m.at), len(m.order))
		}
	}
	total := 0
	for key, one := range m.at {
		total += len(key.host) + len(key.name)
		for _, q := range one.queries {
			total += len(q.text)
		}
		if len(one.queries) > maxQueries {
			t.Fatalf("%d URLs of one path", len(one.queries))
		}
	}
	if total != m.bytes {
		t.Errorf("the names take %d bytes, counted %d", total, m.bytes)
	}
}

func TestPathWithManyPurgedURLsIsPurgedAsAWhole(t *testing.T) {
	var l ledger
	path := markKey{kind: pathMark, host: "shop.example", name: "/p"}
	key := testKey("p")
	key.Host, key.Query, key.HasQuery = "shop.example", "x=other", true
	a := &answer{position: 0}
	for i := range maxQueries + 1 {
		if f, _ := l.fate(&key, a); f != unpurged {
			t.Fatalf("after %d purges of other URLs it is purged", i)
		}
		l.marks.set(path, &query{text: fmt.Sprint("x=", i), has: true}, stamp{hard: uint64(i + 1)})
		l.last.Store(uint64(i + 1))
	}
	if f, _ := l.fate(&key, a); f != hardPurged {
		t.Errorf("got fate %d, want it purged with its path: the URLs are not all remembered", f)
	}
}

package kvstate

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/state"
)

// conform is what every KV store does.
func conform(t *testing.T, kv fastly.KV) {
	ctx := t.Context()
	want := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	look := func(key, body, metadata string) uint64 {
		t.Helper()
		v, err := kv.Lookup(ctx, key)
		if err != nil || string(v.Body) != body || v.Metadata != metadata || v.Generation == 0 {
			t.Errorf("%s: got %d bytes, %q, generation %d, %v; want %d bytes", key, len(v.Body), v.Metadata, v.Generation, err, len(body))
		}
		return v.Generation
	}
	_, err := kv.Lookup(ctx, "a")
	want("an absent key", err, fastly.KVNotFound)
	want("removing it", kv.Delete(ctx, "a"), fastly.KVNotFound)
	none := uint64(7)
	want("a generation of what is absent", kv.Insert(ctx, "a", fastly.KVInsert{IfGeneration: &none}), fastly.KVPreconditionFailed)
	large := strings.Repeat("large ", 5000)
	for _, body := range []string{"", "small", large} {
		want("insert", kv.Insert(ctx, "a", fastly.KVInsert{Body: []byte(body), Metadata: "m"}), nil)
		before := look("a", body, "m")
		want("add", kv.Insert(ctx, "a", fastly.KVInsert{Mode: fastly.KVAdd}), fastly.KVPreconditionFailed)
		want("append", kv.Insert(ctx, "a", fastly.KVInsert{Mode: fastly.KVAppend, Body: []byte(">")}), nil)
		want("prepend", kv.Insert(ctx, "a", fastly.KVInsert{Mode: fastly.KVPrepend, Body: []byte("<")}), nil)
		now := look("a", "<"+body+">", "")
		want("an older generation", kv.Insert(ctx, "a", fastly.KVInsert{IfGeneration: &before}), fastly.KVPreconditionFailed)
		want("the generation", kv.Insert(ctx, "a", fastly.KVInsert{IfGeneration: &now, Body: []byte("x")}), nil)
		look("a", "x", "")
	}
	want("delete", kv.Delete(ctx, "a"), nil)
	want("add", kv.Insert(ctx, "a", fastly.KVInsert{Mode: fastly.KVAdd, Body: []byte(large), TTL: time.Minute}), nil)
	for _, key := range []string{"b/3", "b/1", "ä", "b/2"} {
		want("insert", kv.Insert(ctx, key, fastly.KVInsert{}), nil)
	}
	list := func(l fastly.KVList, keys string, more bool) {
		t.Helper()
		page, err := kv.List(ctx, l)
		if got := strings.Join(page.Keys, " "); err != nil || got != keys || page.More != more {
			t.Errorf("%+v: got %q, %v, %v; want %q, %v", l, got, page.More, err, keys, more)
		}
	}
	list(fastly.KVList{Limit: 9}, "a b/1 b/2 b/3 ä", false)
	list(fastly.KVList{Limit: 2, Prefix: "b/"}, "b/1 b/2", true)
	list(fastly.KVList{Limit: 2, Prefix: "b/", After: "b/2"}, "b/3", false)
	time.Sleep(time.Minute)
	_, err = kv.Lookup(ctx, "a")
	want("its time is over", err, fastly.KVNotFound)
	list(fastly.KVList{Limit: 9, Prefix: "a"}, "", false)
	want("add in its place", kv.Insert(ctx, "a", fastly.KVInsert{Mode: fastly.KVAdd}), nil)
	look("a", "", "")
}

// blobs is how many blobs there are.
func blobs(t *testing.T, s state.Store) int {
	n := 0
	for _, err := range s.Blobs.List(t.Context(), "main") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestStoresAreAsTheyShould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { conform(t, &fastly.MemoryKV{}) })
	synctest.Test(t, func(t *testing.T) {
		s := state.Memory(state.Limits{})
		conform(t, New(&s, new(Room), "main", "shop", "kv"))
		if n := blobs(t, s); n != 0 {
			t.Errorf("%d blobs are left of entries that are no more", n)
		}
		conform(t, New(&s, new(Room), "main", "shop", "another with a long name, which is no part of a key"))
	})
}

func TestWritersDoNotLoseEachOthersWrites(t *testing.T) {
	s := state.Memory(state.Limits{})
	var wg sync.WaitGroup
	const writers = 4
	for range writers {
		wg.Go(func() {
			kv := New(&s, new(Room), "main", "shop", "kv") // as on a node of its own
			for range 10 {
				err := kv.Insert(t.Context(), "log", fastly.KVInsert{Mode: fastly.KVAppend, Body: bytes.Repeat([]byte("x"), 1000)})
				if err != nil && !errors.Is(err, fastly.KVTooMany) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	v, err := New(&s, new(Room), "main", "shop", "kv").Lookup(t.Context(), "log")
	if err != nil || len(v.Body)%1000 != 0 || len(v.Body) < 10_000 {
		t.Errorf("%d bytes, %v", len(v.Body), err)
	}
	if n := blobs(t, s); n > 1 {
		t.Errorf("%d blobs for one entry", n)
	}
}

func TestAStoreIsFilledOnceAndWhatProgramsWriteStays(t *testing.T) {
	s := state.Memory(state.Limits{})
	ctx := t.Context()
	kv := New(&s, new(Room), "main", "shop", "kv")
	entries := func(pairs ...string) map[string]fastly.KVInsert {
		all := map[string]fastly.KVInsert{}
		for i := 0; i < len(pairs); i += 2 {
			all[pairs[i]] = fastly.KVInsert{Body: []byte(pairs[i+1]), Metadata: "m"}
		}
		return all
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect := func(when string, pairs ...string) {
		t.Helper()
		for i := 0; i < len(pairs); i += 2 {
			v, err := kv.Lookup(ctx, pairs[i])
			if got := string(v.Body); got != pairs[i+1] || (err != nil) != (got == "") {
				t.Errorf("%s, %s: got %q, %v; want %q", when, pairs[i], got, err, pairs[i+1])
			}
		}
	}
	must(kv.Insert(ctx, "own", fastly.KVInsert{Body: []byte("own")}))
	first := entries("a", "1", "b", "1", "own", "1", "gone", "1")
	must(kv.Fill(ctx, first, false))
	expect("filled", "a", "1", "b", "1", "own", "own", "gone", "1")
	must(kv.Insert(ctx, "b", fastly.KVInsert{Body: []byte("changed")}))
	must(kv.Delete(ctx, "gone"))
	must(kv.Fill(ctx, first, true))
	expect("again", "a", "1", "b", "changed", "gone", "")
	must(kv.Fill(ctx, entries("a", "2", "b", "1", "new", "1"), false))
	expect("by a deploy", "a", "1", "b", "changed", "new", "1")
	must(kv.Fill(ctx, entries("a", "2", "b", "1"), true))
	expect("from the service's own file", "a", "2", "b", "changed")
}

func TestNodesFillAStoreAtOnce(t *testing.T) {
	s := state.Memory(state.Limits{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			kv := New(&s, new(Room), "main", "shop", "kv")
			if err := kv.Fill(t.Context(), map[string]fastly.KVInsert{"a": {Body: []byte("<")}}, true); err != nil {
				t.Error(err)
			}
			if err := kv.Insert(t.Context(), "a", fastly.KVInsert{Mode: fastly.KVAppend, Body: []byte("x")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	v, err := New(&s, new(Room), "main", "shop", "kv").Lookup(t.Context(), "a")
	if string(v.Body) != "<xxxx" || err != nil {
		t.Errorf("got %q, %v", v.Body, err)
	}
}

func TestTheStoresOfAServiceHaveARoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := state.Memory(state.Limits{})
		hits := 0
		room := &Room{Documents: 10_000, Blobs: 20_000, OnLimit: func(string) { hits++ }}
		small, other := New(&s, room, "main", "shop", "small"), New(&s, room, "main", "shop", "other")
		fill := func(kv *Store, size int) (n int) {
			t.Helper()
			for ; n < 1000; n++ {
				err := kv.Insert(t.Context(), strings.Repeat("k", n+1), fastly.KVInsert{Body: make([]byte, size), TTL: time.Hour})
				if errors.Is(err, fastly.KVTooLarge) {
					return n
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			return n
		}
		if n := fill(other, 8000); n != 2 {
			t.Errorf("%d long bodies, want 2", n)
		}
		if n := fill(small, 100); n < 10 || n > 50 {
			t.Errorf("%d short ones", n)
		}
		if hits != 2 {
			t.Errorf("%d refusals were told, want 2", hits)
		}
		time.Sleep(time.Hour)
		for _, kv := range []*Store{small, other} {
			if err := kv.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := blobs(t, s); n != 0 {
			t.Errorf("%d blobs are left", n)
		}
		if err := small.Insert(t.Context(), "again", fastly.KVInsert{Body: make([]byte, 9000)}); err != nil {
			t.Errorf("after the sweep: %v", err)
		}
	})
}

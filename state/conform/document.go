package conform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

var things = state.Collection{Tenant: tenant, Name: "thing"}

// odd are names that a separator, a wildcard or a file system could confuse.
var odd = []string{"a", "A", "a.b", "a_b", "a/b", "a b", "*", ">", "a.>", "=", "=2e", "..", "é", "a\n", "\x00", "-", "a.b.c", "a*"}

var documentTests = map[string]func(*testing.T, Open){
	"a put is a compare and swap": func(t *testing.T, open Open) {
		ctx, docs, key := t.Context(), open(t, state.Limits{}).Documents, things.Key("one")
		_, err := docs.Get(ctx, key)
		refused(t, err, selvage.NotFound, nil)
		_, err = docs.Put(ctx, key, nil, 7)
		refused(t, err, selvage.Conflict, nil)
		r1 := got(docs.Put(ctx, key, []byte("x"), state.Absent))(t)
		_, err = docs.Put(ctx, key, nil, state.Absent)
		refused(t, err, selvage.Conflict, nil)
		_, err = docs.Put(ctx, key, nil, r1+1)
		refused(t, err, selvage.Conflict, nil)
		r2 := got(docs.Put(ctx, key, []byte("y"), r1))(t)
		r3 := got(docs.Put(ctx, key, []byte("z"), state.Any))(t)
		if r1 == 0 || r2 <= r1 || r3 <= r2 {
			t.Errorf("got the revisions %d, %d, %d, want them to grow", r1, r2, r3)
		}
		d := got(docs.Get(ctx, key))(t)
		if d.Key != key || string(d.Value) != "z" || d.Revision != r3 || d.Time.IsZero() {
			t.Errorf("got %+v", d)
		}
	},
	"a delete is a compare and swap": func(t *testing.T, open Open) {
		ctx, docs, key := t.Context(), open(t, state.Limits{}).Documents, things.Key("one")
		refused(t, docs.Delete(ctx, key, state.Any), selvage.NotFound, nil)
		r1 := got(docs.Put(ctx, key, []byte("x"), state.Any))(t)
		refused(t, docs.Delete(ctx, key, r1+1), selvage.Conflict, nil)
		refused(t, docs.Delete(ctx, key, state.Absent), selvage.Conflict, nil)
		ok(t, docs.Delete(ctx, key, r1))
		_, err := docs.Get(ctx, key)
		refused(t, err, selvage.NotFound, nil)
		refused(t, docs.Delete(ctx, key, r1), selvage.NotFound, nil)
		_, err = docs.Put(ctx, key, nil, r1)
		refused(t, err, selvage.Conflict, nil)
		if r := got(docs.Put(ctx, key, []byte("again"), state.Absent))(t); r <= r1 {
			t.Errorf("got revision %d after a delete, want more than %d", r, r1)
		}
	},
	"of many writers one wins each time": func(t *testing.T, open Open) {
		ctx, docs, key := t.Context(), open(t, state.Limits{}).Documents, things.Key("counter")
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for range 15 {
					if err := increment(ctx, docs, key); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if d := got(docs.Get(ctx, key))(t); string(d.Value) != "90" {
			t.Errorf("6 writers added 15 each and got %s", d.Value)
		}
	},
	"no two keys are the same": func(t *testing.T, open Open) {
		ctx, docs := t.Context(), open(t, state.Limits{}).Documents
		want := map[state.Collection][]string{}
		for _, name := range odd {
			for _, key := range []state.DocumentKey{
				{Collection: state.Collection{Tenant: selvage.Tenant(name), Name: "b"}, ID: "c"},
				{Collection: state.Collection{Tenant: "a", Name: name}, ID: "c"},
				{Collection: state.Collection{Tenant: "a", Name: "b"}, ID: name},
			} {
				got(docs.Put(ctx, key, fmt.Appendf(nil, "%q", key), state.Any))(t)
				if !slices.Contains(want[key.Collection], key.ID) {
					want[key.Collection] = append(want[key.Collection], key.ID)
				}
			}
		}
		for c, ids := range want {
			var have []string
			for _, d := range all(t, docs.List(ctx, c)) {
				have = append(have, d.Key.ID)
				if d.Key.Collection != c || string(d.Value) != fmt.Sprintf("%q", d.Key) {
					t.Errorf("got %s at %q", d.Value, d.Key)
				}
			}
			slices.Sort(ids)
			slices.Sort(have)
			if !slices.Equal(have, ids) {
				t.Errorf("%q: got %q, want %q", c, have, ids)
			}
		}
	},
	"values are kept as they were": func(t *testing.T, open Open) {
		ctx, docs := t.Context(), open(t, state.Limits{}).Documents
		for _, value := range [][]byte{nil, {0}, bytes.Repeat([]byte("x"), state.MaxValue)} {
			key := things.Key("v" + strconv.Itoa(len(value)))
			given := bytes.Clone(value)
			got(docs.Put(ctx, key, given, state.Any))(t)
			clear(given)
			d := got(docs.Get(ctx, key))(t)
			if !bytes.Equal(d.Value, value) {
				t.Errorf("got %d bytes, want the %d of before", len(d.Value), len(value))
			}
			clear(d.Value)
			if d := got(docs.Get(ctx, key))(t); !bytes.Equal(d.Value, value) {
				t.Error("a reader changed what is stored")
			}
		}
	},
	"what can never be stored is invalid": func(t *testing.T, open Open) {
		ctx, docs := t.Context(), open(t, state.Limits{}).Documents
		_, err := docs.Put(ctx, things.Key("large"), make([]byte, state.MaxValue+1), state.Any)
		refused(t, err, selvage.Invalid, nil)
		long := string(make([]byte, 2000))
		for _, key := range []state.DocumentKey{
			{}, things.Key(""), things.Key(long), state.Collection{Name: "x"}.Key("x"), state.Collection{Tenant: tenant}.Key("x"),
			state.Collection{Tenant: tenant, Name: long}.Key("x"), state.Collection{Tenant: selvage.Tenant(long), Name: "x"}.Key("x"),
		} {
			_, err := docs.Put(ctx, key, nil, state.Any)
			refused(t, err, selvage.Invalid, nil)
			_, err = docs.Get(ctx, key)
			refused(t, err, selvage.Invalid, nil)
			refused(t, docs.Delete(ctx, key, state.Any), selvage.Invalid, nil)
		}
		refused(t, failure(docs.List(ctx, state.Collection{})), selvage.Invalid, nil)
		refused(t, failure(docs.Watch(ctx, state.Collection{}, 0)), selvage.Invalid, nil)
	},
	"a watch begins where a list ended": func(t *testing.T, open Open) {
		ctx, docs := t.Context(), open(t, state.Limits{}).Documents
		var writers sync.WaitGroup
		for w := range 3 {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(uint64(w), 0))
				for i := range 60 {
					key := things.Key(strconv.Itoa(random.IntN(8)))
					if random.IntN(3) == 0 {
						if err := docs.Delete(ctx, key, state.Any); selvage.KindOf(err) != selvage.NotFound { // it may be gone already
							okay(t, err)
						}
					} else {
						_, err := docs.Put(ctx, key, strconv.AppendInt(nil, int64(i), 10), state.Any)
						okay(t, err)
					}
				}
			})
		}
		mirror, after := map[string]string{}, state.Revision(0)
		for _, d := range all(t, docs.List(ctx, things)) {
			mirror[d.Key.ID], after = string(d.Value), d.Revision
		}
		watched, end := context.WithCancel(ctx)
		defer end()
		changes := follow(docs.Watch(watched, things, after))
		writers.Wait()
		last := got(docs.Put(ctx, things.Key("last"), nil, state.Any))(t)
		for c := range changes {
			ok(t, c.err)
			if c.v.Revision <= after {
				t.Errorf("got revision %d after %d", c.v.Revision, after)
			}
			after = c.v.Revision
			if mirror[c.v.Key.ID] = string(c.v.Value); c.v.Deleted {
				delete(mirror, c.v.Key.ID)
			}
			if after == last {
				break
			}
		}
		now := all(t, docs.List(ctx, things))
		for _, d := range now {
			if v, ok := mirror[d.Key.ID]; !ok || v != string(d.Value) {
				t.Errorf("%s: the watch says %q %v, the list %q", d.Key, v, ok, d.Value)
			}
		}
		if len(now) != len(mirror) {
			t.Errorf("the watch has %d documents, the list %d", len(mirror), len(now))
		}
	},
	"a watch tells deletes and ends with its context": func(t *testing.T, open Open) {
		docs, key := open(t, state.Limits{}).Documents, things.Key("one")
		ctx, end := context.WithCancel(t.Context())
		defer end()
		r := got(docs.Put(ctx, key, []byte("x"), state.Any))(t)
		changes := follow(docs.Watch(ctx, things, 0))
		if c := <-changes; c.err != nil || c.v.Key != key || c.v.Deleted || c.v.Revision != r || string(c.v.Value) != "x" {
			t.Fatalf("got %+v", c)
		}
		got(docs.Put(ctx, state.Collection{Tenant: "other", Name: things.Name}.Key("one"), nil, state.Any))(t)
		ok(t, docs.Delete(ctx, key, r))
		if c := <-changes; c.err != nil || c.v.Key != key || !c.v.Deleted || c.v.Revision <= r {
			t.Fatalf("got %+v", c)
		}
		end()
		c := <-changes
		refused(t, c.err, selvage.Unavailable, context.Canceled)
		if _, more := <-changes; more {
			t.Error("the watch went on after its error")
		}
	},
	"full is said, and a delete makes room": func(t *testing.T, open Open) {
		limit := ""
		docs := open(t, state.Limits{Documents: 1 << 20, OnLimit: func(l string) { limit = l }}).Documents
		ctx, n := t.Context(), 0
		var err error
		for ; err == nil && n < 40; n++ {
			_, err = docs.Put(ctx, things.Key(strconv.Itoa(n)), make([]byte, 64<<10), state.Absent)
		}
		refused(t, err, selvage.Unavailable, state.ErrFull)
		if n < 12 || n > 17 || limit != "documents" {
			t.Errorf("1MiB is full after %d times 64KiB, the limit is called %q", n, limit)
		}
		for i := range 3 {
			ok(t, docs.Delete(ctx, things.Key(strconv.Itoa(i)), state.Any))
		}
		got(docs.Put(ctx, things.Key("new"), make([]byte, 64<<10), state.Absent))(t)
	},
	"a call with an ended context is unavailable": func(t *testing.T, open Open) {
		docs := open(t, state.Limits{}).Documents
		_, err := docs.Put(canceled(), things.Key("one"), nil, state.Any)
		refused(t, err, selvage.Unavailable, context.Canceled)
		_, err = docs.Get(canceled(), things.Key("one"))
		refused(t, err, selvage.Unavailable, context.Canceled)
		refused(t, failure(docs.List(canceled(), things)), selvage.Unavailable, context.Canceled)
	},
}

// increment adds one to a number in a document, as often as it takes.
func increment(ctx context.Context, docs state.Documents, key state.DocumentKey) error {
	for {
		d, err := docs.Get(ctx, key)
		if err != nil && selvage.KindOf(err) != selvage.NotFound {
			return err
		}
		n, _ := strconv.Atoi(string(d.Value)) // nothing yet: 0
		_, err = docs.Put(ctx, key, strconv.AppendInt(nil, int64(n)+1, 10), d.Revision)
		if selvage.KindOf(err) != selvage.Conflict || errors.Is(err, context.Canceled) {
			return err
		}
	}
}

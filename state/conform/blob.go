package conform

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

// blob is n bytes that no other n gives the beginning of.
func blob(n int) (state.BlobKey, []byte) {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16 ^ n)
	}
	return state.BlobKey{Tenant: tenant, Digest: state.DigestOf(data)}, data
}

var blobTests = map[string]func(*testing.T, Open){
	"what is put is what is read": func(t *testing.T, open Open) {
		ctx, blobs := t.Context(), open(t, state.Limits{}).Blobs
		sizes := []int{0, 1, 128<<10 - 1, 128 << 10, 128<<10 + 1, 3<<20 + 17}
		for _, n := range sizes {
			key, data := blob(n)
			ok(t, blobs.Put(ctx, key, iotest.HalfReader(bytes.NewReader(data))))
			ok(t, blobs.Put(ctx, key, iotest.ErrReader(errors.New("a blob that is there was read again"))))
			if info := got(blobs.Stat(ctx, key))(t); info.Size != int64(n) || info.Key != key {
				t.Errorf("got %+v, want %d bytes", info, n)
			}
			r := got(blobs.Open(ctx, key))(t)
			have, err := io.ReadAll(iotest.HalfReader(r))
			r.Close()
			if err != nil || !bytes.Equal(have, data) {
				t.Errorf("%d bytes were put, %d read: %v", n, len(have), err)
			}
		}
		if infos := all(t, blobs.List(ctx, tenant)); len(infos) != len(sizes) {
			t.Errorf("got %d blobs, want %d", len(infos), len(sizes))
		}
	},
	"what is not what its key says is not stored": func(t *testing.T, open Open) {
		ctx, blobs := t.Context(), open(t, state.Limits{}).Blobs
		key, data := blob(300 << 10)
		broken := errors.New("the client went away")
		refused(t, blobs.Put(ctx, key, bytes.NewReader(data[:200<<10])), selvage.Invalid, nil)
		refused(t, blobs.Put(ctx, key, io.MultiReader(bytes.NewReader(data), bytes.NewReader([]byte{0}))), selvage.Invalid, nil)
		if err := blobs.Put(ctx, key, io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken))); !errors.Is(err, broken) {
			t.Errorf("got %v, want the reader's error", err)
		}
		refused(t, blobs.Put(ctx, state.BlobKey{}, bytes.NewReader(nil)), selvage.Invalid, nil)
		_, err := blobs.Stat(ctx, key)
		refused(t, err, selvage.NotFound, nil)
		_, err = blobs.Open(ctx, key)
		refused(t, err, selvage.NotFound, nil)
		if infos := all(t, blobs.List(ctx, tenant)); len(infos) != 0 {
			t.Errorf("got %d blobs, want none", len(infos))
		}
		ok(t, blobs.Put(ctx, key, bytes.NewReader(data)))
		if have := got(state.ReadBlob(ctx, blobs, key, 1<<20))(t); !bytes.Equal(have, data) {
			t.Error("what was put at last is not what is read")
		}
		_, err = state.ReadBlob(ctx, blobs, key, 1000)
		refused(t, err, selvage.Invalid, nil)
	},
	"a delete is of one tenant": func(t *testing.T, open Open) {
		ctx, blobs := t.Context(), open(t, state.Limits{}).Blobs
		key, data := blob(1000)
		other := state.BlobKey{Tenant: "other", Digest: key.Digest}
		refused(t, blobs.Delete(ctx, key), selvage.NotFound, nil)
		ok(t, blobs.Put(ctx, key, bytes.NewReader(data)))
		_, err := blobs.Stat(ctx, other)
		refused(t, err, selvage.NotFound, nil)
		ok(t, blobs.Put(ctx, other, bytes.NewReader(data)))
		ok(t, blobs.Delete(ctx, key))
		_, err = blobs.Stat(ctx, key)
		refused(t, err, selvage.NotFound, nil)
		if infos := all(t, blobs.List(ctx, "other")); len(infos) != 1 || infos[0].Key != other {
			t.Errorf("got %+v, want the other tenant's", infos)
		}
	},
	"many may put the same at once": func(t *testing.T, open Open) {
		ctx, blobs := t.Context(), open(t, state.Limits{Blobs: 8 << 20}).Blobs
		key, data := blob(400 << 10)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				content := data
				if i%3 == 2 {
					content = make([]byte, len(data)) // somebody who is wrong harms nobody
				}
				if err := blobs.Put(ctx, key, bytes.NewReader(content)); err != nil && i%3 != 2 {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if have := got(state.ReadBlob(ctx, blobs, key, 1<<20))(t); !bytes.Equal(have, data) {
			t.Error("what was put is not what is read")
		}
	},
	"full is said, and a delete makes room": func(t *testing.T, open Open) {
		limit := ""
		blobs := open(t, state.Limits{Blobs: 2 << 20, OnLimit: func(l string) { limit = l }}).Blobs
		ctx := t.Context()
		one, small := blob(1 << 20)
		two, large := blob(3 << 19)
		ok(t, blobs.Put(ctx, one, bytes.NewReader(small)))
		refused(t, blobs.Put(ctx, two, bytes.NewReader(large)), selvage.Unavailable, state.ErrFull)
		if limit != "blobs" {
			t.Errorf("the limit is called %q", limit)
		}
		three, third := blob(800 << 10)
		ok(t, blobs.Put(ctx, three, bytes.NewReader(third))) // the refused one left nothing
		ok(t, blobs.Delete(ctx, one))
		ok(t, blobs.Delete(ctx, three))
		ok(t, blobs.Put(ctx, two, bytes.NewReader(large)))
		got(state.ReadBlob(ctx, blobs, two, 2<<20))(t)
	},
}

package transform

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

// everyKind calls f for each coding and purpose, with a filter and an answer's head that lead to it.
func everyKind(t *testing.T, f func(t *testing.T, c Coding, filter *Compress, m *Memory, dress func(*http.Response))) {
	for k := range kinds {
		t.Run(fmt.Sprintf("%s-%d", k.coding(), k.purpose()), func(t *testing.T) {
			mode, m := Delivered, NewMemory(0)
			if k.purpose() == storing {
				mode = Stored
			}
			f(t, k.coding(), newCompress(t, mode, m), m, func(res *http.Response) {
				if k.purpose() == streaming {
					res.Header["Content-Type"] = []string{"text/event-stream"}
				}
			})
			settled(t, m)
		})
	}
}

func TestWhatIsCompressedDecodesToWhatCame(t *testing.T) {
	data := corpus(t, "html", 700<<10)
	everyKind(t, func(t *testing.T, c Coding, filter *Compress, m *Memory, dress func(*http.Response)) {
		seed := rand.Uint64()
		rnd := rand.New(rand.NewPCG(seed, 0))
		for i := range 12 {
			from := rnd.IntN(len(data))
			body := data[from : from+rnd.IntN(len(data)-from)]
			length := int64(-1)
			if rnd.IntN(2) == 0 && len(body) >= int(DefaultMinSize) {
				length = int64(len(body))
			}
			res := answer(cut(rnd, body), length)
			dress(res)
			if why := filter.Apply(string(c), res); why != "" {
				t.Fatalf("seed %d: not compressed: %s", seed, why)
			}
			var coded bytes.Buffer
			for err := error(nil); err == nil; {
				p := make([]byte, rnd.IntN(1<<rnd.IntN(17)))
				var n int
				n, err = res.Body.Read(p)
				if coded.Write(p[:n]); err != nil && err != io.EOF {
					t.Fatalf("seed %d, body %d: %v", seed, i, err)
				}
			}
			got, err := decode(t, c, coded.Bytes())
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("seed %d, body %d: got %d bytes and %v, want %d that are the same", seed, i, len(got), err, len(body))
			}
			if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Fatalf("after the end: got %d, %v, want EOF again", n, err)
			}
			res.Body.Close()
			if s := m.Stats(); s.Lent != 0 || s.Idle != 1 {
				t.Fatalf("seed %d, body %d: got %+v, want one encoder that waits", seed, i, s)
			}
		}
	})
}

func TestAnEventComesOutBeforeTheNextIsWaitedFor(t *testing.T) {
	everyKind(t, func(t *testing.T, c Coding, filter *Compress, _ *Memory, dress func(*http.Response)) {
		src := new(pieces)
		for i := range 60 {
			src.list = append(src.list, fmt.Appendf(nil, "id: %d\ndata: %s\n\n", i, bytes.Repeat([]byte{byte('a' + i%26)}, 1+i*i)))
		}
		events := bytes.Join(src.list, nil)
		src.list = append(src.list, bytes.Repeat([]byte("x"), inBuffer)) // fills the buffer: that says nothing of what follows
		src.list = append(src.list, []byte("last"))
		whole := append(bytes.Clone(events), bytes.Repeat([]byte("x"), inBuffer)...)
		sizes := []int{}
		for _, e := range src.list {
			sizes = append(sizes, len(e))
		}
		res := answer(src, -1)
		dress(res)
		if why := filter.Apply(string(c), res); why != "" {
			t.Fatal(why)
		}
		defer res.Body.Close()
		var coded []byte
		p := make([]byte, 128<<10)
		came := 0
		for i, size := range sizes {
			n, err := res.Body.Read(p)
			if err != nil || src.reads != i+1 {
				t.Fatalf("event %d: got %v after %d reads of the origin, want %d", i, err, src.reads, i+1)
			}
			coded = append(coded, p[:n]...)
			came += size
			got, err := decode(t, c, coded)
			if want := append(slices.Clip(whole), "last"...)[:came]; !bytes.Equal(got, want) || err != io.ErrUnexpectedEOF {
				t.Fatalf("after event %d: %d bytes can be read (%v), want %d", i, len(got), err, len(want))
			}
		}
	})
}

// atHand is a body that says that it need not be waited for.
type atHand struct{ *pieces }

func (atHand) Buffered() bool { return true }

func TestABodyAtHandIsNotFlushed(t *testing.T) {
	data := corpus(t, "html", 64<<10)
	size := func(body io.ReadCloser, length int64) int {
		res := answer(body, length)
		if why := newCompress(t, Delivered, nil).Apply("gzip", res); why != "" {
			t.Fatal(why)
		}
		coded, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return len(coded)
	}
	small := func() *pieces {
		p := new(pieces)
		for rest := data; len(rest) > 0; rest = rest[512:] {
			p.list = append(p.list, rest[:512])
		}
		return p
	}
	want := size(io.NopCloser(bytes.NewReader(data)), int64(len(data)))
	if got := size(small(), int64(len(data))); got != want {
		t.Errorf("a body of known length in pieces: got %d bytes, want %d", got, want)
	}
	if got := size(atHand{small()}, -1); got != want {
		t.Errorf("a body at hand: got %d bytes, want %d", got, want)
	}
	if got := size(small(), -1); got <= want {
		t.Errorf("a body that is waited for: got %d bytes, want more than %d: each piece is flushed", got, want)
	}
}

func TestABrokenBodyNeverEndsWell(t *testing.T) {
	data := corpus(t, "html", 40<<10)
	everyKind(t, func(t *testing.T, c Coding, filter *Compress, m *Memory, dress func(*http.Response)) {
		for name, body := range map[string]struct {
			src    *pieces
			length int64
			want   error
		}{
			"error":              {&pieces{list: [][]byte{data}, err: errBroke}, -1, errBroke},
			"error with bytes":   {&pieces{list: [][]byte{data}, err: errBroke, atOnce: true}, -1, errBroke},
			"too short":          {&pieces{list: [][]byte{data}}, int64(len(data)) + 1, io.ErrUnexpectedEOF},
			"too long":           {&pieces{list: [][]byte{data, {1}}}, int64(len(data)), io.ErrUnexpectedEOF},
			"neither bytes nor":  {&pieces{list: append([][]byte{data}, make([][]byte, 200)...)}, -1, io.ErrNoProgress},
			"error at the start": {&pieces{err: errBroke}, -1, errBroke},
		} {
			res := answer(body.src, body.length)
			dress(res)
			if why := filter.Apply(string(c), res); why != "" {
				t.Fatal(why)
			}
			coded, err := io.ReadAll(res.Body)
			if !errors.Is(err, body.want) {
				t.Errorf("%s: got %v, want %v", name, err, body.want)
			}
			got, derr := decode(t, c, coded)
			switch {
			case len(coded) == 0: // a whole stream to Zstandard: the error is what tells
			case derr == nil, !bytes.HasPrefix(data, got[:min(len(got), len(data))]):
				t.Errorf("%s: what came decodes to %d bytes and %v, want a break", name, len(got), derr)
			case name == "error" && len(got) != len(data):
				t.Errorf("%s: got %d bytes before the break, want the %d that had come", name, len(got), len(data))
			}
			if _, err := res.Body.Read(make([]byte, 9)); !errors.Is(err, body.want) {
				t.Errorf("%s, again: got %v, want %v", name, err, body.want)
			}
			res.Body.Close()
			if s := m.Stats(); s.Lent != 0 {
				t.Errorf("%s: got %+v, want nothing lent", name, s)
			}
		}
	})
}

func TestTrailersPassWithoutDigests(t *testing.T) {
	data := corpus(t, "html", 4<<10)
	src := &pieces{list: [][]byte{data}}
	res := answer(src, -1)
	res.Trailer = http.Header{"Server-Timing": nil, "Repr-Digest": nil}
	src.onEnd = func() {
		res.Trailer["Server-Timing"], res.Trailer["Repr-Digest"] = []string{"db;dur=1"}, []string{"sha-256=:AA:"}
	}
	newCompress(t, Delivered, nil).Apply("br", res)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(http.Header{"Server-Timing": {"db;dur=1"}}, res.Trailer); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
}

func TestWhatIsNotCompressed(t *testing.T) {
	const html = "text/html"
	for _, c := range []struct {
		status  int
		kind    string
		field   string
		value   string
		length  int64
		want    string
		chooses bool
	}{
		{200, html, "", "", 1024, "", true},
		{404, html, "", "", -1, "", true},
		{200, html, "Cache-Control", "max-age=1", -1, "", true},
		{200, "application/problem+json; charset=utf-8", "", "", -1, "", true},
		{200, "IMAGE/SVG+XML", "", "", -1, "", true},
		{200, "application/wasm", "", "", -1, "", true},
		{200, "font/ttf", "", "", -1, "", true},
		{200, "font/woff2", "", "", -1, WhyType, false},
		{200, "image/png", "", "", -1, WhyType, false},
		{200, "video/mp4", "", "", -1, WhyType, false},
		{200, "application/zip", "", "", -1, WhyType, false},
		{200, "application/grpc", "", "", -1, WhyType, false},
		{200, "application/octet-stream", "", "", -1, WhyType, false},
		{200, "", "", "", -1, WhyType, false},
		{200, html, "", "", 1023, WhySmall, false},
		{200, html, "Content-Encoding", "br", -1, WhyCoding, false},
		{200, html, "Content-Encoding", "identity", -1, WhyCoding, false},
		{200, html, "Content-Range", "bytes 0-1/2", -1, WhyPartial, false},
		{200, html, "Cache-Control", "public, No-Transform", -1, WhyNoTransform, false},
		{200, html, "Signature-Input", `sig=("content-digest")`, -1, WhySigned, false},
		{206, html, "", "", -1, WhyStatus, false},
		{226, html, "", "", -1, WhyStatus, false},
		{204, html, "", "", 0, WhyStatus, false},
		{205, html, "", "", 0, WhyStatus, false},
		{304, html, "", "", 0, WhyStatus, false},
		{101, html, "", "", -1, WhyStatus, false},
	} {
		m := NewMemory(0)
		body := &pieces{}
		res := answer(body, c.length)
		res.StatusCode = c.status
		if res.Header["Content-Type"] = []string{c.kind}; c.kind == "" {
			delete(res.Header, "Content-Type")
		}
		if c.field != "" {
			res.Header[c.field] = []string{c.value}
		}
		before := res.Header.Clone()
		got := newCompress(t, Delivered, m).Apply("gzip", res)
		if got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
		if got != "" && (res.Body != body || res.ContentLength != c.length || cmp.Diff(before, res.Header) != "" || m.Stats().Lent != 0) {
			t.Errorf("%+v: the answer is not as it was:\n%s", c, cmp.Diff(before, res.Header))
		}
		if varies := len(res.Header["Vary"]) > 0; varies != c.chooses {
			t.Errorf("%+v: got Vary %v, want %v", c, varies, c.chooses)
		}
		res.Body.Close()
	}
}

func TestWhoDoesNotWantItGetsVary(t *testing.T) {
	body := &pieces{}
	res := answer(body, 5000)
	want := res.Header.Clone()
	want["Vary"] = []string{"Accept-Encoding"}
	if why := newCompress(t, Delivered, nil).Apply("", res); why != WhyUnwanted {
		t.Errorf("got %q", why)
	}
	if diff := cmp.Diff(want, res.Header); diff != "" || res.Body != body {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

func TestTheVariantIsWhatTheRequestGets(t *testing.T) {
	const all = "gzip, br, zstd"
	for _, c := range []struct {
		name              string
		request           http.Header
		delivered, stored string
	}{
		{"plain", http.Header{"Accept-Encoding": {all}}, "zstd", "br"},
		{"nothing", http.Header{}, "", ""},
		{"range", http.Header{"Accept-Encoding": {all}, "Range": {"bytes=0-"}}, "", ""},
		{"no-transform", http.Header{"Accept-Encoding": {all}, "Cache-Control": {"no-transform"}}, "", ""},
		{"cookie", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}}, "zstd", "br"},
		{"own page", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"same-origin"}}, "zstd", "br"},
		{"typed", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"none"}}, "zstd", "br"},
		{"probe", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"cross-site"}}, "", "br"},
		{"neighbour", http.Header{"Accept-Encoding": {all}, "Authorization": {"Basic eDp5"}, "Sec-Fetch-Site": {"same-site"}}, "zstd", "br"},
		{"probe with a password", http.Header{"Accept-Encoding": {all}, "Authorization": {"Basic eDp5"}, "Sec-Fetch-Site": {"cross-site"}}, "", "br"},
		{"probe with a certificate", http.Header{"Accept-Encoding": {all}, "Client-Cert": {":eA==:"}, "Sec-Fetch-Site": {"cross-site"}}, "", "br"},
		{"probe with the chain of one", http.Header{"Accept-Encoding": {all}, "Client-Cert-Chain": {":eA==:"}, "Sec-Fetch-Site": {"cross-site"}}, "", "br"},
		{"strange", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"same-origin", "none"}}, "", "br"},
		{"nobody", http.Header{"Accept-Encoding": {all}, "Sec-Fetch-Site": {"cross-site"}}, "zstd", "br"},
		{"click", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-User": {"?1"}}, "zstd", "br"},
		{"frame", http.Header{"Accept-Encoding": {all}, "Cookie": {"a=b"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}}, "", "br"},
	} {
		if got := newCompress(t, Delivered, nil).Variant(c.request); got != c.delivered {
			t.Errorf("%s, delivered: got %q, want %q", c.name, got, c.delivered)
		}
		if got := newCompress(t, Stored, nil).Variant(c.request); got != c.stored {
			t.Errorf("%s, stored: got %q, want %q", c.name, got, c.stored)
		}
	}
}

func TestTypesAndSizeCanBeSaid(t *testing.T) {
	f, err := NewCompress(Delivered, nil, CompressOptions{Codings: []Coding{Gzip}, Types: []string{"Application/X-Protobuf"}, MinSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	res := answer(&pieces{}, 10)
	res.Header["Content-Type"] = []string{"application/x-protobuf"}
	if why := f.Apply(f.Variant(http.Header{"Accept-Encoding": {"br, gzip"}}), res); why != "" || res.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %q, %v", why, res.Header)
	}
	res.Body.Close()
	for _, o := range []CompressOptions{{Codings: []Coding{"deflate"}}, {Codings: []Coding{""}}, {Types: []string{"text"}}, {Types: []string{"image/*"}}, {Types: []string{"/"}}} {
		if _, err := NewCompress(Delivered, nil, o); err == nil {
			t.Errorf("%+v: got no error", o)
		}
	}
}

func TestWithoutMemoryAnswersGoOutAsTheyAre(t *testing.T) {
	var reached []string
	gzipCost := kindOf(0, delivering).cost()
	m := NewMemory(selvage.ByteSize(2*gzipCost + gzipCost/2))
	m.OnLimit = func(limit string) { reached = append(reached, limit) }
	f := newCompress(t, Delivered, m)
	data := corpus(t, "html", 8<<10)
	try := func(kind string) (*http.Response, string) {
		res := answer(io.NopCloser(bytes.NewReader(data)), -1)
		res.Header["Content-Type"] = []string{kind}
		return res, f.Apply("gzip", res)
	}
	first, why1 := try("text/event-stream")
	second, why2 := try("text/event-stream")
	third, why3 := try("text/html")
	fourth, why4 := try("text/html")
	if why1 != "" || why2 != WhyMemory || why3 != "" || why4 != WhyMemory {
		t.Errorf("got %q, %q, %q, %q, want the second stream and the fourth answer refused", why1, why2, why3, why4)
	}
	if diff := cmp.Diff([]string{"coders_streams", "coders"}, reached); diff != "" {
		t.Errorf("limits reached (-want +got):\n%s", diff)
	}
	if got, _ := io.ReadAll(fourth.Body); !bytes.Equal(got, data) || fourth.Header.Get("Etag") != `"v1"` {
		t.Errorf("the refused answer is %d bytes with %v, want it as it was", len(got), fourth.Header)
	}
	for _, res := range []*http.Response{first, second, third, fourth} {
		res.Body.Close()
		res.Body.Close()
	}
	settled(t, m)
	// What waits makes room for what is needed.
	res := answer(io.NopCloser(bytes.NewReader(data)), -1)
	if why := f.Apply("zstd", res); why != "" {
		t.Errorf("zstd after gzip: got %q", why)
	}
	res.Body.Close()
	settled(t, m)
	if got := m.Stats().Bytes; got > m.limit {
		t.Errorf("got %d bytes, the limit is %d", got, m.limit)
	}
}

func TestNothingOfOneAnswerComesOutWithTheNext(t *testing.T) {
	secret := bytes.Repeat([]byte("the-password-is-swordfish "), 4000)
	data := corpus(t, "html", 50<<10)
	compressed := func(t *testing.T, f *Compress, c Coding, dress func(*http.Response)) []byte {
		res := answer(io.NopCloser(bytes.NewReader(data)), -1)
		dress(res)
		f.Apply(string(c), res)
		got, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return got
	}
	everyKind(t, func(t *testing.T, c Coding, filter *Compress, m *Memory, dress func(*http.Response)) {
		fresh, err := NewCompress(filter.mode, nil, CompressOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := compressed(t, fresh, c, dress)
		for stop := range 5 {
			res := answer(&pieces{list: [][]byte{secret, secret}}, -1)
			dress(res)
			filter.Apply(string(c), res)
			for range stop {
				res.Body.Read(make([]byte, 50))
			}
			res.Body.Close()
			if s := m.Stats(); s.Idle != 1 {
				t.Fatalf("got %+v, want the encoder back", s)
			}
			if got := compressed(t, filter, c, dress); !bytes.Equal(got, want) {
				t.Errorf("after %d reads of another answer: got %d bytes, want the %d of a new encoder", stop, len(got), len(want))
			}
			if s := m.Stats(); s.Idle != 1 {
				t.Fatalf("got %+v, want the same encoder back", s)
			}
		}
	})
}

// gate is a body whose read waits until it is closed.
type gate struct {
	entered, open chan struct{}
}

func (g *gate) Read([]byte) (int, error) {
	close(g.entered)
	<-g.open
	return 0, errBroke
}

func (g *gate) Close() error { close(g.open); return nil }

func TestABodyMayBeClosedWhileItIsRead(t *testing.T) {
	everyKind(t, func(t *testing.T, c Coding, filter *Compress, _ *Memory, dress func(*http.Response)) {
		g := &gate{make(chan struct{}), make(chan struct{})}
		res := answer(g, -1)
		dress(res)
		filter.Apply(string(c), res)
		read := make(chan error)
		go func() { // its end is waited for below
			_, err := io.Copy(io.Discard, res.Body)
			read <- err
		}()
		<-g.entered
		res.Body.Close()
		if err := <-read; !errors.Is(err, errBroke) && !errors.Is(err, errClosed) {
			t.Errorf("got %v, want the break", err)
		}
		if _, err := res.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("after Close: got %v, want an error", err)
		}
	})
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte("<p>hello</p>"), uint64(1), uint8(0))
	f.Add(bytes.Repeat([]byte("abcd"), 10000), uint64(2), uint8(4))
	f.Add([]byte{}, uint64(3), uint8(8))
	m := NewMemory(0)
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, which uint8) {
		k := kind(which) % kinds
		mode := Delivered
		if k.purpose() == storing {
			mode = Stored
		}
		res := answer(cut(rand.New(rand.NewPCG(seed, 0)), data), -1)
		if k.purpose() == streaming {
			res.Header["Content-Type"] = []string{eventStream}
		}
		if why := newCompress(t, mode, m).Apply(string(k.coding()), res); why != "" {
			t.Fatal(why)
		}
		coded, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got, err := decode(t, k.coding(), coded); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %d bytes and %v, want %d", len(got), err, len(data))
		}
		settled(t, m)
	})
}

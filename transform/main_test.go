package transform

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode reads what is coded as far as it goes.
func decode(t testing.TB, c Coding, coded []byte) ([]byte, error) {
	t.Helper()
	var r io.Reader
	switch c {
	case Gzip:
		z, err := stdgzip.NewReader(bytes.NewReader(coded))
		if err != nil {
			return nil, err
		}
		r = z
	case Brotli:
		r = brotli.NewReader(bytes.NewReader(coded))
	default:
		z, err := zstd.NewReader(bytes.NewReader(coded), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		r = z
	}
	return io.ReadAll(r)
}

// encode makes a coded body in one piece, in no way that the filters do it.
func encode(t testing.TB, c Coding, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch c {
	case Gzip:
		w = stdgzip.NewWriter(&b)
	case Brotli:
		w = brotli.NewWriterLevel(&b, 5)
	default:
		z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pieces is a body that comes piece by piece, one for each read, and then ends in err.
type pieces struct {
	list   [][]byte
	err    error // io.EOF if nil
	atOnce bool  // the end comes with the last piece
	reads  int
	closed int
	onEnd  func()
}

func (p *pieces) Read(b []byte) (int, error) {
	p.reads++
	end := p.err
	if end == nil {
		end = io.EOF
	}
	if len(p.list) == 0 {
		if p.onEnd != nil {
			p.onEnd()
		}
		return 0, end
	}
	n := copy(b, p.list[0])
	if p.list[0] = p.list[0][n:]; len(p.list[0]) > 0 {
		return n, nil
	}
	p.list = p.list[1:]
	if p.atOnce && len(p.list) == 0 {
		return n, end
	}
	return n, nil
}

func (p *pieces) Close() error { p.closed++; return nil }

// cut cuts data at random places, with empty pieces among them.
func cut(rnd *rand.Rand, data []byte) *pieces {
	p := &pieces{atOnce: rnd.IntN(2) == 0}
	for len(data) > 0 {
		n := min(rnd.IntN(1<<rnd.IntN(17)), len(data))
		p.list = append(p.list, data[:n])
		data = data[n:]
	}
	return p
}

// answer is a 200 of HTML with strong claims about its bytes.
func answer(body io.ReadCloser, length int64) *http.Response {
	res := &http.Response{
		StatusCode: http.StatusOK,
		Header: http.Header{
			"Content-Type": {"text/html; charset=utf-8"}, "Etag": {`"v1"`}, "Accept-Ranges": {"bytes"},
			"Content-Digest": {"sha-256=:AAAA:"}, "Repr-Digest": {"sha-256=:AAAA:"}, "Content-Md5": {"AAAA"},
			"Last-Modified": {"Sat, 21 Nov 2026 08:00:00 GMT"},
		},
		Body: body, ContentLength: length,
		Request: &http.Request{Method: http.MethodGet},
	}
	return res
}

// settled fails if anything is still lent.
func settled(t testing.TB, m *Memory) {
	t.Helper()
	s := m.Stats()
	var idle int64
	for k, list := range m.idle {
		idle += int64(len(list)) * kind(k).cost()
	}
	if s.Lent != 0 || s.Streams != 0 || s.Bytes != idle || m.waiting != idle {
		t.Errorf("memory after all is %+v, waiting %d: got something still lent, want %d bytes that wait", s, m.waiting, idle)
	}
}

var errBroke = errors.New("the origin broke off")

func newCompress(t testing.TB, mode Mode, m *Memory) *Compress {
	t.Helper()
	c, err := NewCompress(mode, m, CompressOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

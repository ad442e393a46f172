package transform

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/selvage-edge/selvage"
)

// The bounds of what a coded body may become.
const (
	// DefaultMaxDecoded is the largest body that comes out of a decoder.
	DefaultMaxDecoded selvage.ByteSize = 1 << 30
	// maxRatio is how many bytes may come out for each that went in. Gzip
	// itself cannot do more than 1032; the others can do 30000, and only with bodies made for it.
	maxRatio = 1100
	// ratioFrom is how much may come out before the ratio counts.
	ratioFrom = 1 << 20
	// maxWindow is the largest window of Zstandard that a client must be able
	// to read (RFC 9659, section 3), and so the largest that we read.
	maxWindow = 8 << 20
)

// ErrBomb ends a body that becomes larger than it may.
var ErrBomb = errors.New("decode answer: it becomes too large")

// DecompressOptions is what may be said about decompression. The zero value works.
type DecompressOptions struct {
	// MaxDecoded is the largest body, decoded: [DefaultMaxDecoded] if 0. A larger one breaks off.
	MaxDecoded selvage.ByteSize
}

// Decompress is the filter that takes the coding of an answer away for a client
// that cannot read it. It is always delivered: what is stored stays coded. Its
// variants name the codings that the client reads.
type Decompress struct {
	memory *Memory
	max    int64
}

// NewDecompress makes a filter that borrows its memory from m; without one it
// has [DefaultMemory] of its own.
func NewDecompress(m *Memory, o DecompressOptions) *Decompress {
	if m == nil {
		m = NewMemory(0)
	}
	return &Decompress{memory: m, max: int64(cmp.Or(o.MaxDecoded, DefaultMaxDecoded))}
}

// Mode implements [Filter].
func (d *Decompress) Mode() Mode { return Delivered }

// Effects implements [Filter].
func (d *Decompress) Effects() Effects { return codingEffects }

// Variant implements [Filter].
func (d *Decompress) Variant(request http.Header) string {
	accepted, _ := ParseAccept(request["Accept-Encoding"])
	var takes []string
	for _, c := range codings {
		if forbidsTransform(request) || accepted.Takes(string(c)) {
			takes = append(takes, string(c))
		}
	}
	return strings.Join(takes, ",")
}

// Apply implements [Filter]. It reads the first bytes of the body before it
// returns: they tell how much memory the rest takes.
func (d *Decompress) Apply(variant string, res *http.Response) (why string) {
	if why := untouchable(res); why != "" {
		return why
	}
	coding, why := codingOf(res.Header)
	if coding < 0 {
		return why
	}
	effects := d.Effects()
	effects.chosen(res.Header)
	for name := range strings.SplitSeq(variant, ",") {
		if name == string(codings[coding]) {
			return WhyUnwanted
		}
	}
	if !isHead(res) {
		if why := d.begin(codings[coding], res); why != "" {
			return why
		}
	}
	effects.changed(res)
	delete(res.Header, "Content-Encoding")
	return ""
}

// codingOf is the one coding of an answer, or why there is none to take away.
func codingOf(h http.Header) (coding int, why string) {
	lines := h["Content-Encoding"]
	if len(lines) == 0 {
		return -1, WhyUnwanted
	}
	if len(lines) > 1 {
		return -1, WhyCoding
	}
	if coding = index(strings.Trim(lines[0], " \t")); coding < 0 {
		return -1, WhyCoding
	}
	return coding, ""
}

// begin puts a decoder in front of the body. Where it cannot, what it has read
// ahead is put back.
func (d *Decompress) begin(c Coding, res *http.Response) (why string) {
	if res.Body == nil || res.Body == http.NoBody {
		return ""
	}
	src := newSource(res)
	window, why := src.peekWindow(c)
	if why == "" && window >= 0 && !d.memory.take(window+decoderCost) {
		why = WhyMemory
	}
	if why != "" {
		src.unchanged = true
		res.Body = src
		return why
	}
	if window < 0 { // nothing, coded by somebody as nothing
		res.Body = src
		return ""
	}
	res.Body = newDecodedBody(c, src, window, d)
	return ""
}

package transform

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// DefaultMinSize is the smallest body that is compressed: below it, a packet is sent either way.
const DefaultMinSize selvage.ByteSize = 1 << 10

// The order of codings by default, by the bench: what is made once for
// everybody should be small, what is made for one client must be cheap.
var (
	preferStored    = []Coding{Brotli, Zstd, Gzip}
	preferDelivered = []Coding{Zstd, Gzip, Brotli}
)

// CompressOptions is what may be said about compression. The zero value works.
type CompressOptions struct {
	// Codings are those that are used, the best first. None are all of them.
	Codings []Coding
	// Types are media types that are compressed beside those which always are,
	// such as application/x-protobuf.
	Types []string
	// MinSize is the smallest body that is compressed, [DefaultMinSize] if 0. One
	// of unknown length is compressed whatever its size: its head does not wait for its body.
	MinSize selvage.ByteSize
}

// Compress is the filter that compresses answers. Its variants are the names of
// codings, and "" for none.
type Compress struct {
	mode    Mode
	memory  *Memory
	codings []Coding
	types   map[string]bool
	minSize int64
}

// NewCompress makes a filter that borrows its encoders from m; without one it has
// [DefaultMemory] of its own. It fails on a coding that is not one of ours and on a
// type that is none.
func NewCompress(mode Mode, m *Memory, o CompressOptions) (*Compress, error) {
	if m == nil {
		m = NewMemory(0)
	}
	c := &Compress{
		mode: mode, memory: m, codings: o.Codings, types: make(map[string]bool, len(o.Types)),
		minSize: int64(cmp.Or(o.MinSize, DefaultMinSize)),
	}
	if len(c.codings) == 0 {
		c.codings = preferDelivered
		if mode == Stored {
			c.codings = preferStored
		}
	}
	for _, coding := range c.codings {
		if coding != Gzip && coding != Brotli && coding != Zstd {
			return nil, fmt.Errorf("%q is not a content coding: write zstd, br or gzip", coding)
		}
	}
	for _, t := range o.Types {
		major, minor, ok := strings.Cut(t, "/")
		if !ok || !isName(major) || !isName(minor) {
			return nil, fmt.Errorf("%q is not a media type: write one such as application/x-protobuf", t)
		}
		c.types[strings.ToLower(t)] = true
	}
	return c, nil
}

func isName(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) || s[i] == '*' {
			return false
		}
	}
	return s != ""
}

// Mode implements [Filter].
func (c *Compress) Mode() Mode { return c.mode }

// Effects implements [Filter].
func (c *Compress) Effects() Effects { return codingEffects }

// codingEffects are those of every change of the coding.
var codingEffects = Effects{
	WeakensETag: true, LosesLength: true, LosesRanges: true, LosesDigests: true, Varies: "Accept-Encoding",
}

// Variant implements [Filter]: the coding that the request gets.
func (c *Compress) Variant(request http.Header) string {
	if len(request["Range"]) > 0 || forbidsTransform(request) || c.mode == Delivered && mayBeProbe(request) {
		return string(Identity)
	}
	accepted, _ := ParseAccept(request["Accept-Encoding"])
	return string(accepted.Choose(c.codings))
}

// mayBeProbe says whether another site may have made a browser send a request
// with what the user has here. If the answer repeats what that site wrote into
// the URL, and has a secret of the user, its compressed length tells the secret
// bit by bit (BREACH). Such a request is answered without a coding, unless the
// user clicked a link: that cannot be had thousands of times. Hosts of the same
// registrable domain are not other sites: pages call their own APIs there.
func mayBeProbe(request http.Header) bool {
	has := func(name string) bool { return len(request[name]) > 0 }
	if !slices.ContainsFunc(selvage.CredentialFields(), has) {
		return false
	}
	site := request["Sec-Fetch-Site"]
	if len(site) == 0 || len(site) == 1 && (site[0] == "same-origin" || site[0] == "same-site" || site[0] == "none") {
		return false
	}
	user, mode := request["Sec-Fetch-User"], request["Sec-Fetch-Mode"]
	clicked := len(user) == 1 && user[0] == "?1" && len(mode) == 1 && mode[0] == "navigate"
	return !clicked
}

// Apply implements [Filter].
func (c *Compress) Apply(variant string, res *http.Response) (why string) {
	if why := c.refuses(res); why != "" {
		return why
	}
	effects := c.Effects()
	effects.chosen(res.Header)
	coding := index(variant)
	if coding < 0 {
		return WhyUnwanted
	}
	if !isHead(res) {
		e := c.memory.encoder(kindOf(coding, c.purpose(res)))
		if e == nil {
			return WhyMemory
		}
		res.Body = newEncodedBody(res, c.memory, e)
	}
	effects.changed(res)
	res.Header["Content-Encoding"] = []string{string(codings[coding])}
	return ""
}

// refuses says why an answer is not compressed for anybody.
func (c *Compress) refuses(res *http.Response) string {
	if why := untouchable(res); why != "" {
		return why
	}
	if len(res.Header["Content-Encoding"]) > 0 {
		return WhyCoding
	}
	if t := mediaType(res.Header["Content-Type"]); !isCompressible(t) && !c.types[t] {
		return WhyType
	}
	if n := length(res); n >= 0 && n < c.minSize {
		return WhySmall
	}
	return ""
}

// length is how long the body is, or that of the GET where there is none, and -1 if nobody says.
func length(res *http.Response) int64 {
	switch {
	case !isHead(res):
		if res.Body == nil || res.Body == http.NoBody {
			return 0
		}
		return res.ContentLength
	case len(res.Header["Content-Length"]) == 1:
		if n, err := strconv.ParseInt(res.Header["Content-Length"][0], 10, 64); err == nil {
			return n
		}
	}
	return -1
}

func (c *Compress) purpose(res *http.Response) purpose {
	switch {
	case mediaType(res.Header["Content-Type"]) == eventStream:
		return streaming
	case c.mode == Stored:
		return storing
	}
	return delivering
}

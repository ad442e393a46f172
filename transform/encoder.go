package transform

import (
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// purpose is what an encoder is tuned for.
type purpose int

const (
	delivering purpose = iota // once for one client: fast
	storing                   // once for all clients: small
	streaming                 // event by event, for as long as it takes: little memory
	purposes
)

// kind is an encoder's coding and purpose.
type kind int

const kinds = kind(len(codings)) * kind(purposes)

func kindOf(coding int, p purpose) kind { return kind(coding)*kind(purposes) + kind(p) }

func (k kind) coding() Coding   { return codings[k/kind(purposes)] }
func (k kind) purpose() purpose { return purpose(k % kind(purposes)) }

// tuning is how an encoder is set up.
type tuning struct {
	level  int
	window int   // in bits; gzip has always 15
	cost   int64 // in bytes, with the buffers of an encoder
}

// tunings were chosen by BenchmarkLevels; doc/bench/transform.md has its table.
var tunings = [len(codings)][purposes]tuning{
	{ // gzip
		delivering: {level: 4, cost: 1 << 20},
		storing:    {level: 6, cost: 5 << 18},
		streaming:  {level: 1, cost: 1 << 20},
	},
	{ // br
		delivering: {level: 2, window: 18, cost: 3 << 19},
		storing:    {level: 5, window: 19, cost: 6 << 20},
		streaming:  {level: 2, window: 16, cost: 1 << 20},
	},
	{ // zstd
		delivering: {level: int(zstd.SpeedFastest), window: 18, cost: 5 << 18},
		storing:    {level: int(zstd.SpeedBetterCompression), window: 19, cost: 6 << 20},
		streaming:  {level: int(zstd.SpeedFastest), window: 16, cost: 1 << 20},
	},
}

func (k kind) tuning() tuning { return tunings[k/kind(purposes)][k%kind(purposes)] }
func (k kind) cost() int64    { return k.tuning().cost }

// The sizes of an encoder's buffers. One whose output grew beyond largestOut is
// let go of with its encoder: its kind's cost does not count it in.
const (
	inBuffer   = 32 << 10
	largestOut = 256 << 10
)

// compressor is what the three libraries have in common.
type compressor interface {
	io.WriteCloser
	Flush() error
	Reset(io.Writer)
}

// encoder turns bytes into a coding. It is used by one body at a time.
type encoder struct {
	kind kind
	to   compressor
	in   []byte
	out  output
}

// output is what an encoder has made and nobody has read yet.
type output struct {
	made []byte
	read int
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.made = append(o.made, p...)
	return len(p), nil
}

func (o *output) take(p []byte) int {
	n := copy(p, o.made[o.read:])
	if o.read += n; o.read == len(o.made) {
		o.made, o.read = o.made[:0], 0
	}
	return n
}

func (o *output) empty() bool { return o.read == len(o.made) }

func newEncoder(k kind) *encoder {
	return &encoder{kind: k, to: newCompressor(k.coding(), k.tuning()), in: make([]byte, inBuffer)}
}

// newCompressor makes a compressor. The settings are ours, and a test makes each: they do not fail.
func newCompressor(c Coding, t tuning) compressor {
	switch c {
	case Gzip:
		w, err := gzip.NewWriterLevel(io.Discard, t.level)
		if err != nil {
			panic(err)
		}
		return w
	case Brotli:
		return brotli.NewWriterOptions(io.Discard, brotli.WriterOptions{Quality: t.level, LGWin: t.window})
	default:
		// One block after the other, in the caller's goroutine: an encoder has none of its own to leave behind.
		w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevel(t.level)), zstd.WithWindowSize(1<<t.window),
			zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic(err)
		}
		return w
	}
}

// begin starts a new stream.
func (e *encoder) begin() { e.to.Reset(&e.out) }

// end forgets the stream, so that nothing of it comes out with the next one. It
// says whether the encoder may be used again.
func (e *encoder) end() bool {
	small := cap(e.out.made) <= largestOut
	clear(e.in)
	clear(e.out.made[:cap(e.out.made)])
	e.out = output{made: e.out.made[:0]}
	e.to.Reset(io.Discard)
	return small
}

package shop

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math"
	"strconv"
	"strings"
	"sync"
)

// swatches are the pictures of the cloths, drawn when first asked for and kept.
type swatches struct {
	mu    sync.Mutex // guards drawn
	drawn map[string]*picture
}

type picture struct {
	once sync.Once
	png  []byte
}

// get is the PNG of a product, large or small.
func (s *swatches) get(p *Product, small bool) []byte {
	key := p.Tag() + strconv.FormatBool(small)
	s.mu.Lock()
	if s.drawn == nil {
		s.drawn = map[string]*picture{}
	}
	pic := s.drawn[key]
	if pic == nil {
		pic = new(picture)
		s.drawn[key] = pic
	}
	s.mu.Unlock()
	pic.once.Do(func() { pic.png = draw(p, small) })
	return pic.png
}

// draw weaves a cloth: at every crossing either the warp or the weft lies on
// top, and a thread is darker at its edges.
func draw(p *Product, small bool) []byte {
	width, height, thread := 640, 480, 10
	if small {
		width, height, thread = 240, 180, 6
	}
	warp, weft := threads(p.warp), threads(p.weft)
	bright := make([]float64, thread*thread)
	for i := range bright {
		bright[i] = light(i/thread, i%thread, thread)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		row, down := y/thread, y%thread
		line := img.Pix[y*img.Stride:]
		for x := range width {
			column, right := x/thread, x%thread
			c, by := weft[row%len(weft)], bright[down*thread+right]
			if warpOnTop(p.Weave, column, row) {
				c, by = warp[column%len(warp)], bright[right*thread+down]
			}
			dim(line[4*x:4*x+4], c, by)
		}
	}
	var b bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed} // a cloth repeats itself: the rest would gain little
	if err := encoder.Encode(&b, img); err != nil {
		panic(err) // a buffer takes everything, and the size is ours
	}
	return b.Bytes()
}

// warpOnTop says which thread lies on top at a crossing.
func warpOnTop(weave string, column, row int) bool {
	switch weave {
	case "twill":
		return (column+row)%4 < 3 // over three, under one: a side of its own
	case "herringbone":
		if column/8%2 == 1 {
			row = -row
		}
		return ((column+row)%4+4)%4 < 2
	case "satin":
		return (column*2+row)%5 != 0
	case "hopsack":
		return (column/2+row/2)%2 == 0
	}
	return (column+row)%2 == 0
}

// light is how bright a thread is at a distance from its edge and from where it goes under.
func light(across, along, thread int) float64 {
	round := math.Sin((float64(across) + 0.5) / float64(thread) * math.Pi)
	bend := math.Sin((float64(along) + 0.5) / float64(thread) * math.Pi)
	return 0.72 + 0.22*round + 0.08*bend
}

// dim writes a pixel: a colour in this much light.
func dim(pixel []byte, c color.RGBA, by float64) {
	pixel[0] = uint8(min(255, float64(c.R)*by))
	pixel[1] = uint8(min(255, float64(c.G)*by))
	pixel[2] = uint8(min(255, float64(c.B)*by))
	pixel[3] = 255
}

// threads reads the colours of the catalogue.
func threads(list string) []color.RGBA {
	var out []color.RGBA
	for s := range strings.FieldsSeq(list) {
		v, err := strconv.ParseUint(s, 16, 32)
		if err != nil {
			panic(err) // a defect in the catalogue, which a test reads whole
		}
		out = append(out, color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 255})
	}
	return out
}

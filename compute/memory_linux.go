package compute

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func newMemories(o Options, makeWay func()) memories {
	if o.plain {
		return plainMemories{}
	}
	return mappedMemories{older: o.older, makeWay: makeWay}
}

// mappedMemories map a file in memory copy-on-write: what a guest writes is its
// own, and dropping it brings the file's content back.
type mappedMemories struct {
	older   bool
	makeWay func() // lets others go first
}

var osPage = uint64(os.Getpagesize())

// mappedImage is a file in memory.
type mappedImage struct {
	fd   int
	size uint64 // whole pages; what is behind it is zeros
}

// image implements [memories].
func (mappedMemories) image(data []byte) (image, error) { return newMappedImage(data) }

func newMappedImage(data []byte) (*mappedImage, error) {
	fd, err := unix.MemfdCreate("selvage-function", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create file in memory: %w", err)
	}
	i := &mappedImage{fd: fd}
	// Zeros at the end stay out of the file, and zeros in it are holes.
	pages := (uint64(len(data)) + osPage - 1) / osPage
	page := func(n uint64) []byte { return data[n*osPage : min((n+1)*osPage, uint64(len(data)))] }
	for pages > 0 && isZero(page(pages-1)) {
		pages--
	}
	i.size = pages * osPage
	if err := unix.Ftruncate(fd, int64(i.size)); err != nil {
		i.close()
		return nil, fmt.Errorf("size file in memory: %w", err)
	}
	for n := range pages {
		if isZero(page(n)) {
			continue
		}
		if _, err := unix.Pwrite(fd, page(n), int64(n*osPage)); err != nil {
			i.close()
			return nil, fmt.Errorf("write file in memory: %w", err)
		}
	}
	return i, nil
}

var zeros = make([]byte, osPage)

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

func (i *mappedImage) close() { _ = unix.Close(i.fd) } // nothing is written that could be lost

// mapAt maps the image over the beginning of a memory.
func (i *mappedImage) mapAt(all []byte) error {
	if i.size == 0 {
		return nil
	}
	if i.size > uint64(len(all)) {
		return errImage
	}
	_, err := unix.MmapPtr(i.fd, 0, unsafe.Pointer(unsafe.SliceData(all)), uintptr(i.size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map file in memory: %w", err)
	}
	return nil
}

// open implements [memories].
func (ms mappedMemories) open(limit uint64, first image) (*memory, error) {
	all, err := unix.Mmap(-1, 0, int(max(limit, osPage)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve memory: %w", err)
	}
	// A large page would have to be cleared as a whole for one byte of it.
	_ = unix.Madvise(all, unix.MADV_NOHUGEPAGE) // not every kernel has them
	m := &memory{all: all[:limit], limit: limit}
	b := &mappedBacking{m: m, whole: all, older: ms.older, makeWay: ms.makeWay}
	m.backing = b
	if i, ok := first.(*mappedImage); ok {
		b.first = i.size
		if err := i.mapAt(all); err != nil {
			m.backing.close()
			return nil, err
		}
	}
	return m, nil
}

// mappedBacking is one mapped memory.
type mappedBacking struct {
	m       *memory
	whole   []byte
	first   uint64 // the length of the image that it began with
	frozen  *mappedImage
	shared  []byte // the frozen image, to copy from
	older   bool   // take the system for one that does not say what was written
	makeWay func()
	found   []region
	hot     []span // pages that requests write to, learned where the system cannot be asked for what was written
	rounds  int
}

// span is a range of pages.
type span struct{ from, to uint64 }

func (p *mappedBacking) freeze(n uint64) error {
	i, err := newMappedImage(p.m.all[:p.touched(n)])
	if err != nil {
		return err
	}
	if err := i.mapAt(p.whole); err != nil {
		i.close()
		return err
	}
	if i.size > 0 {
		if p.shared, err = unix.Mmap(i.fd, 0, int(i.size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
			i.close()
			return fmt.Errorf("map frozen memory: %w", err)
		}
	}
	p.frozen = i
	// What is behind the image was all zeros, and has to be again without our looking.
	return p.drop(i.size, n)
}

// mostHot is how many pages stay resident for the next request.
const mostHot = 1024

// back implements [backing].
func (p *mappedBacking) back(n uint64) error {
	p.rounds++
	if ok, err := p.backWritten(n); ok || err != nil {
		return err
	}
	return p.backLearned(n)
}

// Where requests write is looked at after so many of them, and then again, for
// the first may not be like the rest.
const (
	learnFirst = 16
	learnAgain = 1024
)

// backLearned copies back what requests are known to write to, and drops the rest.
func (p *mappedBacking) backLearned(n uint64) error {
	if p.rounds == learnFirst || p.rounds%learnAgain == 0 {
		p.learn(n)
	}
	at := uint64(0)
	for _, s := range p.hot {
		if err := p.drop(at, s.from); err != nil {
			return err
		}
		if s.from >= n {
			break // it did not grow as far this time
		}
		kept := 0
		if s.from < p.frozen.size {
			kept = copy(p.whole[s.from:s.to], p.shared[s.from:])
		}
		clear(p.whole[s.from+uint64(kept) : s.to])
		at = s.to
	}
	return p.drop(at, n)
}

// drop forgets what was written from one place to another, a piece at a time: a
// call for 128 MiB takes 10 ms, in which neither the guests of this processor nor
// whoever waits for the process's mappings gets anywhere.
func (p *mappedBacking) drop(from, to uint64) error {
	for from < to {
		piece := min(to-from, dropAtOnce)
		// The scheduler is not told of the call: for one that takes so little it
		// would give the processor to another thread.
		if _, _, errno := syscall.RawSyscall(syscall.SYS_MADVISE, uintptr(unsafe.Pointer(&p.whole[from])), uintptr(piece), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("drop pages: %w", errno)
		}
		if from += piece; from < to {
			p.makeWay()
		}
	}
	return nil
}

// dropAtOnce is how many bytes are dropped in some tens of microseconds, if all of them were written.
const dropAtOnce = 1 << 20

// In the highest byte of an entry of the page map.
const present, swapped, ofFile = 0x80, 0x40, 0x20

// pagemap is what the system says of the first n bytes' pages, eight bytes each.
func (p *mappedBacking) pagemap(n uint64) ([]byte, error) {
	file, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	entries := make([]byte, (n+osPage-1)/osPage*8)
	_, err = file.ReadAt(entries, int64(uintptr(unsafe.Pointer(unsafe.SliceData(p.whole)))/uintptr(osPage)*8))
	return entries, err
}

// touched is how much of the first n bytes can be other than zeros: up to the
// last page that there is. To look at all of them would make them.
func (p *mappedBacking) touched(n uint64) uint64 {
	entries, err := p.pagemap(n)
	if err != nil {
		return n
	}
	pages := uint64(len(entries) / 8)
	for pages*osPage > p.first && pages > 0 && entries[pages*8-1]&(present|swapped) == 0 {
		pages--
	}
	return min(n, pages*osPage)
}

// learn looks which pages the last request wrote to. Copying those back, or
// clearing them, is cheaper than faulting them in anew; a wrong guess costs
// time and nothing else, since whatever is outside of it is dropped.
func (p *mappedBacking) learn(n uint64) {
	entries, err := p.pagemap(n)
	if err != nil {
		return // all pages are dropped then
	}
	p.hot = p.hot[:0]
	pages := 0
	for i := range uint64(len(entries) / 8) {
		if flags := entries[i*8+7]; flags&present == 0 || flags&ofFile != 0 {
			continue
		}
		if pages++; pages > mostHot {
			break
		}
		// A gap of two pages costs less than another call to the kernel.
		if k := len(p.hot); k > 0 && i*osPage-p.hot[k-1].to <= 2*osPage {
			p.hot[k-1].to = (i + 1) * osPage
		} else {
			p.hot = append(p.hot, span{i * osPage, (i + 1) * osPage})
		}
	}
}

func (p *mappedBacking) close() {
	if p.frozen != nil {
		p.frozen.close()
	}
	if p.shared != nil {
		_ = unix.Munmap(p.shared) // ours, mapped above
	}
	if p.whole != nil {
		_ = p.drop(0, min(p.m.high, uint64(len(p.whole)))) // else it goes with the rest
		_ = unix.Munmap(p.whole)
	}
	p.frozen, p.shared, p.whole, p.m.all = nil, nil, nil, nil
}

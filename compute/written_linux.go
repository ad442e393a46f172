package compute

import (
	"bytes"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system can be asked for the pages of a mapping that are not the file's
// any more (PAGEMAP_SCAN, Linux 6.7): those and no others were written to. One
// call takes the place of one for every gap between them, and what a guest only
// read stays mapped for the next request.

// region is struct page_region of linux/fs.h.
type region struct{ from, to, categories uint64 }

// scanArg is struct pm_scan_arg of linux/fs.h.
type scanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyOf, returned                         uint64
}

const (
	scanRequest = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5

	// regionsAtOnce is how many are asked for with one call.
	regionsAtOnce = 128

	// scanAtOnce is how many bytes are looked through with one call, which takes 0.1 to 0.3 ms if there are that many.
	scanAtOnce = 64 << 20
)

// pagemapFile is what the question goes to; negative where it cannot be asked.
// It stays open for as long as the process runs.
var pagemapFile = sync.OnceValue(func() int {
	file, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	probe := scanArg{size: uint64(unsafe.Sizeof(scanArg{})), mask: pageIsPresent, returned: pageIsPresent}
	if _, errno := scan(file, &probe); errno != 0 {
		_ = unix.Close(file) // nothing was written to it
		return -1
	}
	return file
})

// scan asks, and returns how many regions were found.
func scan(file int, arg *scanArg) (int, syscall.Errno) {
	count, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(file), scanRequest, uintptr(unsafe.Pointer(arg)))
	return int(count), errno
}

// written finds the ranges of the first n bytes that were written to, as
// offsets; false if the system does not say.
func (p *mappedBacking) written(n uint64) bool {
	file := pagemapFile()
	if file < 0 || p.older {
		return false
	}
	base := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p.whole))))
	end := base + (n+osPage-1)/osPage*osPage
	p.found = p.found[:0]
	for at := base; at < end; {
		if at >= base+scanAtOnce {
			p.makeWay()
		}
		p.found = slices.Grow(p.found, regionsAtOnce)
		into := p.found[len(p.found) : len(p.found)+regionsAtOnce]
		arg := scanArg{
			size: uint64(unsafe.Sizeof(scanArg{})), start: at, end: min(end, at+scanAtOnce),
			vec: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(into)))), vecLen: regionsAtOnce,
			inverted: pageIsFile | pageIsZero, mask: pageIsFile | pageIsZero, anyOf: pageIsPresent | pageIsSwapped, returned: pageIsPresent,
		}
		count, errno := scan(file, &arg)
		if errno != 0 || arg.walkEnd <= at {
			return false
		}
		for i := range into[:count] {
			into[i].from, into[i].to = into[i].from-base, into[i].to-base
		}
		p.found, at = p.found[:len(p.found)+count], arg.walkEnd
	}
	return true
}

// forgetAfter is after how many requests pages go that the last one did not write to.
const forgetAfter = 64

// backWritten copies back what was written, or clears it, and drops what is
// more than may stay resident; false if the system does not say what was
// written.
func (p *mappedBacking) backWritten(n uint64) (bool, error) {
	if !p.written(n) {
		return false, nil
	}
	room := uint64(mostHot) * osPage
	for _, r := range p.found {
		keep := min(r.to-r.from, room)
		room -= keep
		if err := p.copyBack(r.from, r.from+keep); err != nil {
			return true, err
		}
		if err := p.drop(r.from+keep, r.to); err != nil {
			return true, err
		}
	}
	return true, nil
}

// copyBack sets pages back. Those that are as they were have been written to by
// an earlier request only, and now and then they go; to look for them each time
// would take as long as to copy them.
func (p *mappedBacking) copyBack(from, to uint64) error {
	if p.rounds%forgetAfter != 0 {
		if from < p.frozen.size {
			from += uint64(copy(p.whole[from:to], p.shared[from:]))
		}
		clear(p.whole[from:to])
		return nil
	}
	for at := from; at < to; at += osPage {
		was := zeros
		if at < p.frozen.size {
			was = p.shared[at : at+osPage]
		}
		page := p.whole[at : at+osPage]
		if !bytes.Equal(page, was) {
			copy(page, was)
		} else if err := p.drop(at, at+osPage); err != nil {
			return err
		}
	}
	return nil
}

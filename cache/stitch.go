package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
)

// errOtherBytes breaks an answer whose later parts the origin does not have any
// more: it has changed, and two representations are never mixed.
var errOtherBytes = errors.New("read stored parts: the origin has something else by now")

// source is where the parts of one answer are taken from: the store, the flight
// that the answer began with, and further flights.
type source struct {
	t      *Transport
	q      *inquiry
	head   *answer // of the whole
	flight *flight // may be nil
	gone   <-chan struct{}
	places []*places
}

// open is a reader of one part of the whole. What it holds is given back by the source's Close.
func (s *source) open(part span) *places {
	p := &places{source: s, pos: part.start, end: part.end()}
	s.places = append(s.places, p)
	return p
}

// Close implements io.Closer.
func (s *source) Close() error {
	for _, p := range s.places {
		p.letGo()
	}
	s.places = nil
	if s.flight != nil {
		s.flight.leaveRead(s.q)
		s.flight = nil
	}
	return nil
}

// places reads one part of a whole, from wherever it is. It is an answer's Body.
type places struct {
	source *source
	pos    int64
	end    int64
	cur    *reader
	err    error
}

// Read implements io.Reader.
func (p *places) Read(b []byte) (n int, err error) {
	for {
		r, err := p.reader()
		if err != nil {
			return 0, err
		}
		n, err = r.Read(b)
		p.pos += int64(n)
		if err = p.passed(err); n > 0 || err != nil {
			return n, err
		}
	}
}

// WriteTo implements io.WriterTo: it writes the stored bytes where they are.
func (p *places) WriteTo(w io.Writer) (written int64, err error) {
	for {
		r, err := p.reader()
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := r.WriteTo(w)
		written += n
		p.pos += n
		if err == nil {
			err = io.EOF
		}
		if err = p.passed(err); err != nil {
			return written, err
		}
	}
}

// Close implements io.Closer.
func (p *places) Close() error { return p.source.Close() }

// passed notes what came of a read: at the end of one place the next one follows.
func (p *places) passed(err error) error {
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, io.EOF):
		p.err = err
	case p.cur.pos < p.cur.end:
		p.err = io.ErrUnexpectedEOF
	default:
		p.letGo()
	}
	return p.err
}

func (p *places) letGo() {
	if p.cur != nil {
		_ = p.cur.Close()
		p.cur = nil
	}
}

// reader is what the next bytes are read from.
func (p *places) reader() (*reader, error) {
	switch {
	case p.err != nil:
		return nil, p.err
	case p.cur != nil:
		return p.cur, nil
	case p.pos >= p.end:
		return nil, io.EOF
	}
	if p.cur, p.err = p.source.at(p.pos, p.end); p.err == nil {
		p.source.lookAhead(p.pos+p.cur.end-p.cur.pos, p.end)
	}
	return p.cur, p.err
}

// at is a reader from a position of the whole to the end, or for as far as one
// place goes.
func (s *source) at(pos, end int64) (*reader, error) {
	good := s.q.good
	if s.q.standsIn {
		good = func(a *answer) bool { return standsIn(s.q.now, &a.terms, s.q.directives) }
	}
	if f := s.flight; f != nil && f.outcome.answer.part.holds(pos) {
		return s.readerOf(f.outcome.answer, pos, end, nil), nil
	}
	for range maxPartTries {
		if a := s.t.store.piece(&s.q.key, s.q.req.Header, s.head, pos, s.t.and(good)); a != nil {
			return s.readerOf(a, pos, end, nil), nil
		}
		f, part := s.t.joinPiece(s.sliceAt(pos, s.stored(good)))
		switch part {
		case noPart:
			return nil, context.Canceled
		case lookAgain:
			continue
		}
		if err := f.wait(s.q.req.Context(), part == leads); err != nil {
			f.leave(part == leads)
			return nil, err
		}
		next, err := s.takes(f, pos, part == leads)
		switch {
		case next == tryNext:
			f.leave(part == leads)
			continue
		case err != nil:
			f.leave(part == leads)
			return nil, err
		}
		a := f.outcome.answer
		return s.readerOf(a, pos, end, func() { f.leave(false) }), nil
	}
	return nil, errOtherBytes
}

// stored are the parts of the whole that are stored.
func (s *source) stored(good func(*answer) bool) []span {
	have := s.t.stitches(s.q, good)
	if have.head == nil || !sameBytes(have.head, s.head) {
		return nil
	}
	return have.spans
}

// sliceAt asks for the slice of a position, without what is stored of it.
func (s *source) sliceAt(pos int64, have []span) *inquiry {
	sub := *s.q
	sub.found, sub.order = found{}, order{whole: s.head, wantAt: pos}
	sub.want = rangeField(sliceAround(pos, s.head.length, have, min(SliceSize, s.t.rules.maxBody)))
	return &sub
}

// lookAhead lets the slice of the position that is read next be fetched while what
// stands before it is sent: else a reader would wait for the origin once a slice.
func (s *source) lookAhead(pos, end int64) {
	if pos >= end || s.q.standsIn || s.q.directives.onlyIfCached || strongValidator(s.head.header, s.head.terms.received) == "" {
		return
	}
	if f := s.flight; f != nil && f.outcome.answer.part.holds(pos) {
		return
	}
	have := s.stored(s.q.good)
	if slices.ContainsFunc(have, func(h span) bool { return h.holds(pos) }) {
		return
	}
	next := s.sliceAt(pos, have)
	if _, known := s.t.knownUnstorable(next); known {
		return
	}
	next.ahead = true
	if f, part := s.t.joinPiece(next); part == leads || part == waits {
		f.leave(part == leads) // it is kept, and finds its way into the store
	}
}

// takes says whether the answer goes on with what a flight brought, is to look
// again since that was purged, or breaks.
func (s *source) takes(f *flight, pos int64, leader bool) (afterwards, error) {
	o := &f.outcome
	a := o.answer
	switch {
	case o.err != nil:
		return done, o.err
	case o.why == refusePurged, a != nil && !leader && f.fate(a) != unpurged:
		return tryNext, nil
	case !leader && (a == nil || !o.shared || !selected(a.selectors, s.q.req.Header)):
		return tryNext, nil // it was for somebody else: what is there for us?
	case a == nil || !sameBytes(a, s.head) || !a.span().holds(pos):
		return done, errOtherBytes
	}
	return done, nil
}

// readerOf reads what a stored or coming answer holds of a whole between two positions of it.
func (s *source) readerOf(a *answer, pos, end int64, done func()) *reader {
	has := a.span()
	a.body.opened(&s.t.store.sending)
	return &reader{
		b: a.body, gone: s.gone, pos: pos - has.start, end: min(end, has.end()) - has.start,
		res: &http.Response{}, done: done, sent: &s.t.store.sending,
	}
}

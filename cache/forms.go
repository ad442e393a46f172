package cache

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/selvage-edge/selvage"
)

// A form is a stored answer's body in another content coding. It is made once, by
// the first request that wants it, and hangs on the answer: a 304, a purge and an
// eviction meet one entry. Its head is made of the answer's each time.

// Coder makes forms. Its methods are those of transform's stored filters.
type Coder interface {
	// Variant is the form that a request's header asks for, "" for the body as it is.
	Variant(request http.Header) string
	// Apply changes an answer into a form: its head at once, its body while it is
	// read. It returns "", or why the answer is as it was; Vary may have changed then.
	Apply(variant string, res *http.Response) (why string)
}

// What bounds forms beside the store's bytes.
const (
	// MaxMakers is how many forms are made at once. Beyond it requests get the
	// answer as it is stored.
	MaxMakers = 64
	// worthwhile: a form is kept if it has less than this part of the bytes, in hundredths.
	worthwhile = 95
)

// Why there is no form.
const (
	whyMemory = "memory" // there was no room to make it in: the next request tries again
	whySmall  = "small"  // it would be hardly smaller
)

// formsState says where forms are.
type formsState int

const (
	formsPending formsState = iota // their answer is on its way into the store
	formsStored
	formsPacked // they are in the record of their answer
	formsGone   // their answer was not stored, or is not any more
)

// forms are those of one body.
type forms struct {
	mu        sync.Mutex // guards what follows; it is taken before the store's
	byVariant map[string]*form

	// All below is guarded by the store's mu.
	state    formsState
	entry    number // where they are stored
	serial   uint64 // of what the entry held when they were packed
	bytes    int64  // of those that are whole
	reserved int64  // the part of bytes that is in the store's reserved
	making   int    // how many are being made
	whole    []wholeForm

	// record is those of a packed answer that was copied. It does not change.
	record []byte
}

// wholeForm is a form that is there, or the reason why there will be none.
type wholeForm struct {
	variant, why string
	body         *body // nil without one
}

func (w *wholeForm) size() int64 {
	if w.body == nil {
		return 0
	}
	return w.body.size
}

// packed makes them those of a copied record, which share its memory.
func (f *forms) packed(e *entry, record []byte) {
	f.byVariant, f.whole = nil, nil
	f.state, f.entry, f.serial, f.record = formsPacked, e.self, e.serial, record
	f.bytes, f.reserved, f.making = 0, 0, 0
}

// unpack makes of the forms in a copied record those that may be added to.
func (f *forms) unpack() {
	u := unpacker{f.record}
	for range u.uint() {
		one := u.form()
		f.whole = append(f.whole, one)
		if f.byVariant == nil {
			f.byVariant = make(map[string]*form)
		}
		f.byVariant[one.variant] = &form{one.body, one.why}
		if one.body != nil {
			f.bytes += one.body.kept()
		}
	}
	f.record = nil
}

// form reads a form.
func (u *unpacker) form() wholeForm {
	one := wholeForm{variant: u.string(), why: u.string()}
	if p := u.bytes(); one.why == "" {
		one.body = bodyOf([][]byte{p})
	}
	return one
}

// form is one of them. It does not change but for its body.
type form struct {
	body *body
	why  string // why there is none
}

var headRequest = &http.Request{Method: http.MethodHead}

// identity makes the request one for the answer as it is, and notes which form
// its client wants: so all codings have one key and wait for one fetch.
func (q *inquiry) identity(c Coder) {
	if c == nil || q.content != nil {
		return
	}
	q.form = c.Variant(q.req.Header)
	if have := q.req.Header["Accept-Encoding"]; len(have) == 1 && have[0] == "identity" {
		return
	}
	q.req = q.req.WithContext(q.req.Context())
	q.req.Header = maps.Clone(q.req.Header)
	q.req.Header["Accept-Encoding"] = []string{"identity"}
}

// secret says whether an answer may have something of one user: it is selected by
// a cookie, by credentials or by a certificate. Such a one is not compressed for good, beside what
// another site wrote into the URL (BREACH).
func (t *Transport) secret(a *answer) bool {
	return t.keys != nil && (len(t.keys.cookies) > 0 || slices.ContainsFunc(t.keys.headers, selvage.IsCredentialField)) ||
		slices.ContainsFunc(a.selectors, func(s selector) bool { return selvage.IsCredentialField(s.name) })
}

// coded makes the head of an answer that of the form which the request wants,
// if there is one, and returns the form's body, nil where the answer's own is to be sent.
func (t *Transport) coded(q *inquiry, a *answer, res *http.Response) *body {
	if q.form == "" || a.forms == nil || t.secret(a) {
		return nil
	}
	head := http.Response{StatusCode: a.status, Header: res.Header, ContentLength: a.length, Request: headRequest}
	f := a.forms.get(q.form)
	if f.body == nil {
		head.Header = maps.Clone(res.Header) // it may come to nothing
	}
	why := t.scope.Coder.Apply(q.form, &head)
	if vary := head.Header["Vary"]; vary != nil {
		res.Header["Vary"] = vary
	}
	if why != "" {
		return nil
	}
	bodyless := q.req.Method == http.MethodHead || isNotModified(q.req.Header, a.status, a.header, a.terms.received)
	if f.body == nil && f.why == "" {
		if !bodyless {
			a = t.store.writable(a)
		}
		f = t.form(q, a, !bodyless)
	}
	switch {
	case f.why == whySmall:
		q.rec.Cache.Incompressible = true
		return nil
	case f.why != "" && !bodyless:
		return nil
	}
	q.rec.Answer.Coding = q.form
	res.Header, res.ContentLength = head.Header, -1
	if f.body == nil {
		return nil
	}
	if f.body.whole.Load() {
		res.ContentLength = f.body.size
		res.Header["Content-Length"] = []string{strconv.FormatInt(f.body.size, 10)}
	}
	if !bodyless {
		q.rec.Answer.UncodedBytes = max(a.length, 0)
	}
	return f.body
}

// get is a form that is there, whole or growing; without one it has no body.
func (f *forms) get(variant string) form {
	f.mu.Lock()
	defer f.mu.Unlock()
	if have := f.byVariant[variant]; have != nil {
		return *have
	}
	if f.record == nil {
		return form{}
	}
	u := unpacker{f.record}
	for range u.uint() {
		if one := u.form(); one.variant == variant {
			return form{one.body, one.why}
		}
	}
	return form{}
}

// form is the form that a request wants. With make it is made if there is none;
// it then grows while it is read. Why there is none is remembered, except for want of memory.
func (t *Transport) form(q *inquiry, a *answer, make bool) form {
	a.forms.mu.Lock()
	defer a.forms.mu.Unlock()
	if f := a.forms.byVariant[q.form]; f != nil {
		return *f
	}
	if !make || a.length <= 0 || a.length > t.rules.maxBody {
		return form{why: whyMemory}
	}
	f := t.makeForm(q.form, a)
	if f.why != whyMemory {
		if a.forms.byVariant == nil {
			a.forms.byVariant = map[string]*form{}
		}
		a.forms.byVariant[q.form] = &f
	}
	return f
}

// makeForm begins to make a form of an answer whose length is known. The
// room for it is taken before anybody reads.
func (t *Transport) makeForm(variant string, a *answer) form {
	room := chunkCost(a.length + a.length/16 + firstChunk)
	if !t.store.beginForm(a.forms, room) {
		t.store.reached("memory")
		return form{why: whyMemory}
	}
	m := maker{store: t.store, forms: a.forms, variant: variant, length: a.length, room: room, body: new(body)}
	plain := &reader{b: a.body, end: -1, res: new(http.Response), sent: &t.store.sending}
	a.body.opened(plain.sent)
	res := &http.Response{
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: maps.Clone(a.header), ContentLength: a.length, Body: plain,
	}
	why := t.scope.Coder.Apply(variant, res)
	m.body.keptBy(&t.store.sending)
	if why == "" && !t.startMaker(&m, res.Body) {
		why = whyMemory
		res.Body.Close()
	}
	if why != "" {
		_ = plain.Close() // it is memory
		t.store.endForm(a.forms, nil, room)
		return form{why: why}
	}
	return form{body: m.body}
}

// startMaker lets a maker run; the store's Close waits for it.
func (t *Transport) startMaker(m *maker, src io.ReadCloser) bool {
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.makers == MaxMakers {
		t.store.reached("forms")
		return false
	}
	s.makers++
	s.wg.Go(func() { m.run(src) })
	return true
}

// maker makes one form.
type maker struct {
	store   *Store
	forms   *forms
	variant string
	length  int64 // of the answer
	room    int64 // that is reserved
	body    *body
}

// run compresses to the end. A form that breaks is forgotten: who reads it sees
// it break, who comes later begins anew.
func (m *maker) run(src io.ReadCloser) {
	err := m.fill(src)
	src.Close()
	if err != nil {
		m.forget("")
	}
	m.body.end(err, nil)
	stored := false
	switch {
	case err != nil:
		m.store.endForm(m.forms, nil, m.room)
	case m.body.size*100 > m.length*worthwhile:
		m.forget(whySmall)
		m.store.endForm(m.forms, &wholeForm{variant: m.variant, why: whySmall}, m.room)
	default:
		if stored = m.store.endForm(m.forms, &wholeForm{variant: m.variant, body: m.body}, m.room); !stored {
			m.forget("")
		}
	}
	if !stored {
		m.body.left(&m.store.sending)
	}
	s := &m.store.flights
	s.mu.Lock()
	s.makers--
	s.mu.Unlock()
}

// forget takes the form off its answer, and remembers why if that is said.
func (m *maker) forget(why string) {
	m.forms.mu.Lock()
	defer m.forms.mu.Unlock()
	if why == "" {
		delete(m.forms.byVariant, m.variant)
		return
	}
	m.forms.byVariant[m.variant] = &form{why: why}
}

func (m *maker) fill(src io.Reader) error {
	size := firstChunk
	for {
		p := m.body.free()
		if len(p) == 0 {
			m.body.addChunk(size)
			size = min(2*size, maxChunk)
			continue
		}
		n, err := src.Read(p)
		if n > 0 {
			m.body.publish(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// writable is the answer with the forms that all share who read it, so that each
// is made once: a packed one is opened for that.
func (s *Store) writable(a *answer) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := a.forms
	if f.state != formsPacked {
		return a
	}
	e := s.objects.at(f.entry)
	if e.self == 0 || e.serial != f.serial {
		return a // what is made now serves those only who read it
	}
	defer s.makeRoomLocked()
	return s.openLocked(e)
}

// beginForm takes the room for a form that is to be made.
func (s *Store) beginForm(f *forms, room int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reserveLocked(room) {
		return false
	}
	f.making++
	return true
}

// endForm counts a form that is whole, or notes why there is none; with nil nothing is
// remembered. It returns false where its answer is not in the store any more: then
// the form serves those only who read it already.
func (s *Store) endForm(f *forms, one *wholeForm, reserved int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= reserved
	f.making--
	e := s.objects.at(f.entry)
	switch {
	case f.state == formsGone:
		return false
	case f.state == formsPacked && (e.self == 0 || e.serial != f.serial || one != nil):
		return false // it was packed while nobody knew that a form would be made
	case one != nil:
		n := int64(0)
		if one.body != nil {
			n = one.body.kept()
		}
		f.whole = append(f.whole, *one)
		f.bytes += n
		if f.state == formsPending {
			s.reserved += n
			f.reserved += n
		} else {
			s.resizeLocked(e, e.size+n)
		}
	}
	if f.state == formsStored {
		s.repackLocked(e)
		s.makeRoomLocked()
	}
	return true
}

// abandon says that an answer does not get into the store.
func (s *Store) abandon(f *forms) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moveFormsLocked(f, nil)
}

// counted says whether the forms that are whole are in the store's bound as what they
// are: else they are counted where they are read, see [body.opened].
func (f *forms) counted() bool { return f.state == formsPending || f.state == formsStored }

// moveFormsLocked notes in which entry forms are counted, nil for none.
func (s *Store) moveFormsLocked(f *forms, e *entry) {
	if f == nil {
		return
	}
	s.reserved -= f.reserved
	f.reserved = 0
	before := f.counted()
	defer func() {
		for i := range f.whole {
			switch body := f.whole[i].body; {
			case body == nil || f.counted() == before:
			case before:
				body.left(&s.sending)
			default:
				body.keptBy(&s.sending)
			}
		}
	}()
	switch {
	case e == nil:
		f.entry, f.state = 0, formsGone
	case e.where != (spot{}):
		f.entry, f.serial, f.state = e.self, e.serial, formsPacked
	default:
		f.entry, f.state = e.self, formsStored
	}
}

// size is what an answer takes with its body and the forms that hang on it. It is
// called with the store's lock.
func (a *answer) size(key Key) int64 {
	n := a.cost(key) + a.body.kept() + a.body.trailerCost()
	if a.forms != nil {
		n += costForms + a.forms.bytes
	}
	return n
}

// Buffered says whether Read waits for nobody until the end of the body.
func (r *reader) Buffered() bool { return r.b.whole.Load() }

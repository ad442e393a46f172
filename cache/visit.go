package cache

import (
	"net/http"
	"sync"
)

// visit is the memory of one request in the cache: a hit that is given back (see
// reader.Recycle) leaves it to the next request, so that it takes none of its own.
type visit struct {
	inquiry inquiry
	made    made
	views   views
	header  http.Header // of an answer to a request that was not copied
	// Of a hit that is written as it lies, see Transport.Ready.
	ready   Ready
	request http.Request
}

var visits = sync.Pool{New: func() any { return new(visit) }}

// What a visit keeps for the next request: so many views, each with no more bytes than that.
const (
	viewsKept = 4
	bytesKept = 64 << 10
)

// made is an answer made from a stored one, in one piece of memory.
type made struct {
	res        http.Response
	reader     reader
	age        [1]string
	status     [1]string
	ageText    [20]byte
	statusText [128]byte
}

// leave gives the memory to the next request.
func (v *visit) leave() {
	v.inquiry, v.made = inquiry{}, made{}
	if len(v.views.all) > viewsKept {
		clear(v.views.all[viewsKept:])
		v.views.all = v.views.all[:viewsKept]
	}
	for i, one := range v.views.all {
		if cap(one.record)+cap(one.chunk[0]) > bytesKept {
			v.views.all[i] = new(view)
		}
	}
	v.views.used, v.views.asTheyLie, v.request = 0, nil, http.Request{}
	clear(v.header)
	visits.Put(v)
}

// Recycle gives back the memory of an answer, once, after Close: nothing of the
// answer, its header and its request in the cache may be used any more, by anybody.
// Who does not call it leaves it to the collector.
func (r *reader) Recycle() {
	if v := r.visit; v != nil {
		r.visit = nil
		v.leave()
	}
}

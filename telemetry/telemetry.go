// Package telemetry is where a finished record goes: the access log, the
// metrics and the one-second series. It also continues and begins trace
// contexts, whose ids the record carries.
//
// Look at [Sink] first; [AccessLog], [Metrics] and [Series] are its
// implementations, [Fan] hands a record to several of them.
//
// It promises that a sink never waits: what a slow disk cannot take is dropped
// and counted, label sets are bounded, and no sink keeps a record. It refuses
// to change an answer, to log on the request path, and to use host names,
// paths or anything else that a client can invent as a metric's label.
package telemetry

import (
	"math/bits"

	"github.com/selvage-edge/selvage/record"
)

// Sink takes finished records. Take is called by many goroutines at once, does
// not wait, and does not keep the record.
type Sink interface {
	Take(r *record.Record)
}

// Fan hands every record to all of its sinks, in order.
type Fan []Sink

// Take hands r to every sink.
func (f Fan) Take(r *record.Record) {
	for _, s := range f {
		s.Take(r)
	}
}

// counted says whether a request counts as bad. A client that did not wait is
// not counted against anybody.
func counted(why record.WhyBad) bool {
	return why != record.Good && why != record.ClientGone
}

// mix spreads the bits of x, so that its high bits can be compared with a share.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xd1342543de82ef95)
	return hi ^ lo
}

package selvage

import (
	"cmp"
	"time"
)

// The defaults of what bounds clients, for those who use a server without a node
// file. They are those of the tags; a test compares them.
var (
	defaultLimits = Limits{
		Head: 32 << 10, Target: 8 << 10, Fields: 128, Body: 4 << 30,
		Connections: 50_000, Handshakes: 256, Streams: 250, Coders: 64 << 20,
	}
	defaultDeadlines = Deadlines{
		Head:  Duration(10 * time.Second),
		Body:  Duration(30 * time.Second),
		Idle:  Duration(75 * time.Second),
		Write: Duration(30 * time.Second),
		Total: Duration(time.Hour),
		Drain: Duration(30 * time.Second),
	}
)

// OrDefaults are the limits with the documented default in the place of each
// that is zero or less.
func (l Limits) OrDefaults() Limits {
	return Limits{
		Head:        orDefault(l.Head, defaultLimits.Head),
		Target:      orDefault(l.Target, defaultLimits.Target),
		Fields:      orDefault(l.Fields, defaultLimits.Fields),
		Body:        orDefault(l.Body, defaultLimits.Body),
		Connections: orDefault(l.Connections, defaultLimits.Connections),
		Handshakes:  orDefault(l.Handshakes, defaultLimits.Handshakes),
		Streams:     orDefault(l.Streams, defaultLimits.Streams),
		Coders:      orDefault(l.Coders, defaultLimits.Coders),
	}
}

func orDefault[T int | ByteSize](v, preset T) T { return cmp.Or(max(v, 0), preset) }

// OrDefaults are the deadlines, or the documented defaults if all of them are
// zero: beside one that is set, zero is no bound.
func (d Deadlines) OrDefaults() Deadlines { return cmp.Or(d, defaultDeadlines) }

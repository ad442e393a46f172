package telemetry

import (
	"bytes"
	"log/slog"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// FunctionLine is what a function wrote to a log at once.
type FunctionLine struct {
	Tenant   selvage.Tenant
	Service  selvage.ServiceName
	Revision selvage.RevisionID
	Function selvage.FunctionName
	Place    record.Place
	// Endpoint is the log's name. Empty: standard output or error, of which Text is some
	// whole lines, or a part of a long one. What is written to an endpoint is one line.
	Endpoint string
	TraceID  [16]byte // of the request
	Text     []byte   // not to be kept
}

// FunctionLog writes a line of JSON for every line that a function writes to its
// standard output or error, and for whatever it writes to a log endpoint; the
// fields are those of [FunctionFields]. Its limit is named function_log.
type FunctionLog struct{ Lines }

// NewFunctionLog returns the log that writes to path, as [NewAccessLog] does.
func NewFunctionLog(path string, log *slog.Logger) (*FunctionLog, error) {
	l := &FunctionLog{Lines{limit: "function_log"}}
	return l, l.open(path, "function log", log)
}

// FunctionFields lists the fields of a line of the function log, as [Fields] does.
func FunctionFields() []Field {
	return []Field{
		{"time", "when it was written, RFC 3339 in UTC with microseconds; always"},
		{"tenant", "who owns the service"},
		{"service", "the service"},
		{"revision", "the revision that the request was pinned to"},
		{"zone", "the zone of the node"},
		{"pop", "the POP of the node"},
		{"node", "the node"},
		{"function", "the function; always"},
		{"endpoint", "the log endpoint; missing for standard output and error, and for how it was ended"},
		{"text", "what it wrote; always"},
		{"trace_id", "the trace of the request, as in the access log"},
	}
}

// Take puts the lines into the buffer. Those of one call come together or not at all.
func (l *FunctionLog) Take(line FunctionLine) {
	if l.off {
		return
	}
	buf := l.lend()
	now, n := time.Now(), uint64(0)
	*buf = (*buf)[:0]
	if line.Endpoint != "" {
		*buf, n = appendFunctionLine(*buf, now, &line, line.Text), 1
	} else {
		for text := range bytes.Lines(line.Text) {
			if n++; len(*buf) <= l.most() { // else they do not fit: 64 KiB of empty lines would be 16 MiB
				*buf = appendFunctionLine(*buf, now, &line, text)
			}
		}
	}
	l.add(*buf, n)
	l.giveBack(buf)
}

func appendFunctionLine(dst []byte, now time.Time, f *FunctionLine, text []byte) []byte {
	l := &line{append(dst, `{"time":"`...)}
	l.b = append(appendTime(l.b, now), '"')
	l.text("tenant", string(f.Tenant))
	l.text("service", string(f.Service))
	l.text("revision", string(f.Revision))
	l.text("zone", string(f.Place.Zone))
	l.text("pop", string(f.Place.POP))
	l.text("node", string(f.Place.Node))
	l.key("function")
	l.b = appendString(l.b, string(f.Function))
	l.text("endpoint", f.Endpoint)
	l.key("text")
	l.b = appendString(l.b, string(bytes.TrimRight(text, "\r\n")))
	l.hex("trace_id", f.TraceID[:])
	return append(l.b, '}', '\n')
}

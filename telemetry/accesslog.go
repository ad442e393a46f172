package telemetry

import (
	"log/slog"

	"github.com/selvage-edge/selvage/record"
)

// AccessLog writes a line of JSON for every record that its route chose; the
// fields are those of [Fields]. Its limit is named access_log.
type AccessLog struct{ Lines }

// NewAccessLog returns the access log that writes to path: stdout, stderr, off,
// or a file that is made or added to. A file that cannot be opened is an error.
func NewAccessLog(path string, log *slog.Logger) (*AccessLog, error) {
	l := &AccessLog{Lines{limit: "access_log"}}
	return l, l.open(path, "access log", log)
}

// Take puts r's line into the buffer, if its route wants it written.
func (l *AccessLog) Take(r *record.Record) {
	if l.off {
		return
	}
	weight, ok := chosen(r)
	if !ok {
		return
	}
	buf := l.lend()
	*buf = appendLine((*buf)[:0], r, weight)
	l.add(*buf, 1)
	l.giveBack(buf)
}

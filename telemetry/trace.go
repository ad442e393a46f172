package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/selvage-edge/selvage/record"
)

const (
	// maxState bounds the tracestate that is sent on. The specification asks
	// for 512 at least.
	maxState = 8 << 10
	// maxRequestID bounds an X-Request-ID that is sent on.
	maxRequestID = 128

	flagSampled = 0x01
	flagRandom  = 0x02
)

// Continue fills r.Trace from the request's fields traceparent and tracestate
// (W3C Trace Context), or begins a trace where there is no valid one. Our span
// is always new.
//
// The sampled flag is kept as it came. A trace that begins here has it set: the
// usual sampler of an application (parent based) records nothing under a parent
// that was not sampled, so a trace would vanish for no other reason than that
// the edge stands in front. The ids that we make are random.
func Continue(h http.Header, r *record.Record) {
	binary.BigEndian.PutUint64(r.Trace.SpanID[:], nonZero())
	if values := h["Traceparent"]; len(values) == 1 {
		if id, parent, flags, ok := parseParent(values[0]); ok {
			r.Trace.TraceID, r.Trace.Parent, r.Trace.Flags = id, parent, flags
			r.Trace.State = parseState(h["Tracestate"])
			return
		}
	}
	binary.BigEndian.PutUint64(r.Trace.TraceID[:8], nonZero())
	binary.BigEndian.PutUint64(r.Trace.TraceID[8:], nonZero())
	r.Trace.Parent = [8]byte{}
	r.Trace.Flags = flagSampled | flagRandom
	r.Trace.State = ""
}

// nonZero is a random number that is not 0, since ids of zeros are invalid. The
// source is the runtime's ChaCha8, seeded by the system for each thread.
func nonZero() uint64 {
	for {
		if v := rand.Uint64(); v != 0 {
			return v
		}
	}
}

// Inject puts r.Trace into the fields of a request to an origin, with our span
// as the parent. An X-Request-ID of up to 128 printable characters is left as it
// came; any other is replaced by the trace id in hexadecimal.
func Inject(h http.Header, r *record.Record) {
	parent := make([]byte, 0, 55)
	parent = append(parent, "00-"...)
	parent = appendHex(parent, r.Trace.TraceID[:])
	parent = append(parent, '-')
	parent = appendHex(parent, r.Trace.SpanID[:])
	parent = append(parent, '-')
	parent = appendHex(parent, []byte{r.Trace.Flags})
	text := string(parent)
	v := [2]string{text, text[3:35]} // one array: this is on the way of every request
	h["Traceparent"] = v[:1:1]
	if r.Trace.State != "" {
		h["Tracestate"] = []string{r.Trace.State}
	} else {
		delete(h, "Tracestate")
	}
	if !validRequestID(h["X-Request-Id"]) {
		h["X-Request-Id"] = v[1:]
	}
}

func validRequestID(values []string) bool {
	if len(values) != 1 || values[0] == "" || len(values[0]) > maxRequestID {
		return false
	}
	for i := range len(values[0]) {
		if c := values[0][i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// parseParent reads a traceparent (section 3.2). Of versions after 00 it reads
// what 00 has and demands that anything more begins with a hyphen (section 4.3).
func parseParent(s string) (id [16]byte, parent [8]byte, flags byte, ok bool) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return id, parent, 0, false
	}
	var version, bits [1]byte
	if !lowerHex(version[:], s[:2]) || !lowerHex(id[:], s[3:35]) ||
		!lowerHex(parent[:], s[36:52]) || !lowerHex(bits[:], s[53:55]) {
		return id, parent, 0, false
	}
	switch {
	case version[0] == 0xff,
		version[0] == 0 && len(s) != 55,
		len(s) > 55 && s[55] != '-',
		id == [16]byte{}, parent == [8]byte{}:
		return id, parent, 0, false
	}
	return id, parent, bits[0] & (flagSampled | flagRandom), true
}

// lowerHex decodes src, which must be of lower-case digits and fill dst.
func lowerHex(dst []byte, src string) bool {
	for i := range len(src) {
		if c := src[i]; c >= 'A' && c <= 'F' {
			return false
		}
	}
	var buf [32]byte
	n, err := hex.Decode(dst, buf[:copy(buf[:], src)])
	return err == nil && n == len(dst)
}

// parseState is the list of all tracestate fields together, without empty
// members, or nothing if any part of it is malformed (section 3.3).
func parseState(values []string) string {
	if len(values) == 0 {
		return ""
	}
	whole := strings.Join(values, ",")
	if len(whole) > maxState {
		return ""
	}
	var members, kept int
	for member := range strings.SplitSeq(whole, ",") {
		members++
		member = strings.Trim(member, " \t")
		if member == "" {
			continue
		}
		key, value, ok := strings.Cut(member, "=")
		if kept++; !ok || kept > 32 || members > 64 || !validKey(key) || !validValue(value) {
			return ""
		}
	}
	if kept == 0 {
		return ""
	}
	return whole
}

// validKey holds for simple keys and for those of a tenant at a system (section 3.3.2.2.1).
func validKey(key string) bool {
	tenant, system, multi := strings.Cut(key, "@")
	if !multi {
		return len(key) <= 256 && keyChars(key) && key[0] >= 'a' && key[0] <= 'z'
	}
	return len(tenant) <= 241 && keyChars(tenant) && tenant[0] != '_' && tenant[0] != '-' && tenant[0] != '*' && tenant[0] != '/' &&
		len(system) <= 14 && keyChars(system) && system[0] >= 'a' && system[0] <= 'z'
}

func keyChars(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '_', c == '-', c == '*', c == '/':
		default:
			return false
		}
	}
	return s != ""
}

// validValue holds for printable characters without comma and equals sign, the last not a space.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return s != "" && len(s) <= 256 && s[len(s)-1] != ' '
}

package telemetry

import (
	"crypto/tls"
	"strconv"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// Field is one field of an access log line.
type Field struct {
	Name string
	Help string
}

// Fields lists the fields of an access log line in the order in which they are
// written. A field whose value is empty, zero or false is left out, unless its
// help says that it is always there. Names and meanings are stable.
func Fields() []Field {
	return []Field{
		{"time", "when the first byte of the request head was there, RFC 3339 in UTC with microseconds; always"},
		{"tenant", "who owns the service"},
		{"service", "the service that answered; missing if no service matched"},
		{"route", "the route that answered; missing if no route matched"},
		{"revision", "the revision that the request was pinned to"},
		{"change", "the change whose rollout was running"},
		{"arm", "baseline or canary"},
		{"rescued", "true: the canary failed by itself and the old revision answered instead"},
		{"zone", "the zone of the node"},
		{"pop", "the POP of the node"},
		{"node", "the node"},
		{"client", "the client's address; behind trusted proxies the client's, not theirs"},
		{"peer", "the other end of the connection, where it is not the client"},
		{"rtt_ms", "the round-trip time to the peer, the kernel's estimate"},
		{"protocol", "HTTP/1.0, HTTP/1.1 or HTTP/2.0"},
		{"tls", "the version of TLS: 1.2 or 1.3"},
		{"reused", "true: not the first request of its connection"},
		{"method", "the method"},
		{"host", "the host that was asked for"},
		{"path", "the path, without the query"},
		{"request_head_bytes", "the size of the request head"},
		{"request_body_bytes", "the size of the request body, as far as it was read"},
		{"status", "the status of the answer; 0 if the client was gone before there was one; always"},
		{"answer_head_bytes", "the size of the answer's head, where it is known"},
		{"answer_body_bytes", "the size of the answer's body, as far as it was sent; after an upgrade the bytes of both directions"},
		{"coding", "the content coding that the answer was compressed by here"},
		{"uncoded_bytes", "the size of the body before that, as far as it was read"},
		{"upgraded", "true: the connection went on as something else"},
		{"broken", "true: the answer began and did not end"},
		{"head_ms", "milliseconds from time to the complete request head"},
		{"first_byte_ms", "milliseconds from time to the first byte of the answer"},
		{"total_ms", "milliseconds from time to the end; always"},
		{"cache", "hit, or why the cache asked the origin: bypass, method, uri-miss, vary-miss, miss, request, stale, partial (RFC 9211)"},
		{"cache_status", "the status of the cache's own request to the origin"},
		{"cache_ttl_s", "seconds for which the stored answer was still fresh, negative if it was stale"},
		{"cache_stored", "true: the answer was stored"},
		{"cache_collapsed", "true: the request waited for another's answer"},
		{"cache_stale", "true: the answer was no longer fresh"},
		{"cache_detail", "more of the cache's reasons"},
		{"origin", "the origin that was asked"},
		{"attempts", "how often an endpoint was tried"},
		{"tries", "the first attempts, each with endpoint, start_ms (from time), first_byte_ms (from start), status, error, reused"},
		{"proxy_error", "why the origin gave no answer, as RFC 9209 names it"},
		{"fallback", "the step of the failure ladder that answered: stale or default"},
		{"function", "the function that ran"},
		{"function_cpu_ms", "milliseconds that it computed, if it ended before its answer went on its way"},
		{"function_memory_bytes", "its linear memory at its end, likewise"},
		{"function_fetches", "the requests to origins that it made, likewise"},
		{"function_failed", "what was done when it failed: pass, previous or default"},
		{"trap", "the fingerprint of its trap: the same for the same defect in every build"},
		{"why_bad", "why the request counts as bad"},
		{"limit", "the limit that ended the request"},
		{"detail", "what went wrong, in words"},
		{"trace_id", "the trace, hexadecimal (W3C Trace Context)"},
		{"span_id", "our span in it"},
		{"parent_id", "the caller's span, if it began the trace"},
		{"weight", "for how many requests the line stands, where only a share of them is written"},
	}
}

// line is one access log line in the making. Every line begins with a field
// that is always there, so that the others can begin with a comma.
type line struct{ b []byte }

func (l *line) key(name string) {
	l.b = append(l.b, ',', '"')
	l.b = append(l.b, name...)
	l.b = append(l.b, '"', ':')
}

func (l *line) text(name, value string) {
	if value != "" {
		l.key(name)
		l.b = appendString(l.b, value)
	}
}

func (l *line) number(name string, value int64) {
	if value != 0 {
		l.key(name)
		l.b = strconv.AppendInt(l.b, value, 10)
	}
}

func (l *line) truth(name string, value bool) {
	if value {
		l.key(name)
		l.b = append(l.b, "true"...)
	}
}

func (l *line) millis(name string, d time.Duration) {
	if d != 0 {
		l.key(name)
		l.b = appendMillis(l.b, d)
	}
}

func (l *line) hex(name string, id []byte) {
	for _, b := range id {
		if b != 0 {
			l.key(name)
			l.b = append(l.b, '"')
			l.b = appendHex(l.b, id)
			l.b = append(l.b, '"')
			return
		}
	}
}

// appendLine appends r as one line of JSON with its line break. A weight of 1
// is not written.
func appendLine(dst []byte, r *record.Record, weight float64) []byte {
	l := &line{append(dst, `{"time":"`...)}
	l.b = appendTime(l.b, r.Start)
	l.b = append(l.b, '"')
	l.place(r)
	l.client(&r.Client)
	l.text("method", r.Request.Method)
	l.text("host", r.Request.Host)
	l.text("path", r.Request.Path)
	l.number("request_head_bytes", r.Request.HeadBytes)
	l.number("request_body_bytes", r.Request.BodyBytes)
	l.answer(r)
	l.cache(&r.Cache)
	l.origin(r)
	l.function(&r.Function)
	l.text("why_bad", string(r.WhyBad))
	l.text("limit", r.LimitHit)
	l.text("detail", r.Detail)
	l.hex("trace_id", r.Trace.TraceID[:])
	l.hex("span_id", r.Trace.SpanID[:])
	l.hex("parent_id", r.Trace.Parent[:])
	if weight > 1 {
		l.key("weight")
		l.b = strconv.AppendFloat(l.b, weight, 'g', 6, 64)
	}
	return append(l.b, '}', '\n')
}

func (l *line) function(f *record.Function) {
	l.text("function", string(f.Name))
	l.millis("function_cpu_ms", f.CPU)
	l.number("function_memory_bytes", f.Memory)
	l.number("function_fetches", int64(f.Fetches))
	l.text("function_failed", f.Failed)
	l.text("trap", f.Trap)
}

func (l *line) place(r *record.Record) {
	t := &r.Target
	l.text("tenant", string(t.Tenant))
	l.text("service", string(t.Service))
	l.text("route", string(t.Route))
	l.text("revision", string(t.Revision))
	l.text("change", string(t.Change))
	l.text("arm", string(t.Arm))
	l.truth("rescued", t.Rescued)
	l.text("zone", string(r.Place.Zone))
	l.text("pop", string(r.Place.POP))
	l.text("node", string(r.Place.Node))
}

func (l *line) client(c *record.Client) {
	if c.Addr.IsValid() {
		l.key("client")
		l.b = append(l.b, '"')
		l.b = c.Addr.WithZone("").AppendTo(l.b)
		l.b = append(l.b, '"')
	}
	if c.Peer.IsValid() && c.Peer.Addr().Unmap() != c.Addr.Unmap() {
		l.key("peer")
		l.b = append(l.b, '"')
		l.b = c.Peer.Addr().WithZone("").AppendTo(l.b)
		l.b = append(l.b, '"')
	}
	l.millis("rtt_ms", c.RTT)
	l.text("protocol", c.Protocol)
	l.text("tls", tlsName(c.TLS))
	l.truth("reused", c.Reused)
}

func (l *line) answer(r *record.Record) {
	l.key("status")
	l.b = strconv.AppendInt(l.b, int64(r.Answer.Status), 10)
	l.number("answer_head_bytes", r.Answer.HeadBytes)
	l.number("answer_body_bytes", r.Answer.BodyBytes)
	if r.Answer.Coding != "" {
		l.text("coding", r.Answer.Coding)
		l.number("uncoded_bytes", r.Answer.UncodedBytes)
	}
	l.truth("upgraded", r.Answer.Upgraded)
	l.truth("broken", r.Answer.Broken)
	l.millis("head_ms", r.Timing.Head)
	l.millis("first_byte_ms", r.Timing.FirstByte)
	l.key("total_ms")
	l.b = appendMillis(l.b, r.Timing.End)
}

func (l *line) cache(c *record.Cache) {
	if c.Hit {
		l.text("cache", "hit")
	} else {
		l.text("cache", c.Fwd)
	}
	l.number("cache_status", int64(c.FwdStatus))
	if c.HasTTL {
		l.key("cache_ttl_s")
		l.b = strconv.AppendInt(l.b, int64(c.TTL/time.Second), 10)
	}
	l.truth("cache_stored", c.Stored)
	l.truth("cache_collapsed", c.Collapsed)
	l.truth("cache_stale", c.Stale)
	l.text("cache_detail", c.Detail)
}

func (l *line) origin(r *record.Record) {
	o := &r.Origin
	l.text("origin", string(r.Target.Origin))
	l.number("attempts", int64(o.Attempts))
	if kept := o.Kept(); len(kept) > 0 {
		l.key("tries")
		l.b = append(l.b, '[')
		for i := range kept {
			if i > 0 {
				l.b = append(l.b, ',')
			}
			l.try(&kept[i])
		}
		l.b = append(l.b, ']')
	}
	l.text("proxy_error", string(o.Type))
	l.text("fallback", o.Fallback)
}

func (l *line) try(a *record.Attempt) {
	l.b = append(l.b, `{"endpoint":`...)
	l.b = appendString(l.b, a.Endpoint)
	l.millis("start_ms", a.Start)
	l.millis("first_byte_ms", a.FirstByte)
	l.number("status", int64(a.Status))
	l.text("error", string(a.Error))
	l.truth("reused", a.Reused)
	l.b = append(l.b, '}')
}

func tlsName(version uint16) string {
	switch version {
	case 0:
		return ""
	case tls.VersionTLS12:
		return "1.2"
	case tls.VersionTLS13:
		return "1.3"
	}
	return "other"
}

// chosen says whether r is written to the access log, and for how many
// requests it stands. The choice by share is made by the trace id, so that the
// nodes that a request crosses agree. What matched no route is always written:
// nobody could choose otherwise.
func chosen(r *record.Record) (weight float64, ok bool) {
	choice := r.Target.Log
	if r.Target.Route == "" && choice == (selvage.LogChoice{}) {
		return 1, true
	}
	if choice.Errors && r.WhyBad != record.ClientGone && (r.WhyBad != record.Good || r.Answer.Broken || r.Answer.Status >= 500) {
		return 1, true
	}
	switch {
	case choice.Share >= 1:
		return 1, true
	case choice.Share <= 0:
		return 0, false
	}
	var id uint64
	for _, b := range r.Trace.TraceID[8:] {
		id = id<<8 | uint64(b)
	}
	if id == 0 {
		id = uint64(r.Start.UnixNano())
	}
	if float64(mix(id)>>11)/(1<<53) >= choice.Share {
		return 0, false
	}
	return 1 / choice.Share, true
}

package telemetry

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func decode(t *testing.T, line []byte) map[string]any {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("line %q: %v", line, err)
	}
	return got
}

func TestLineHoldsEveryFactOfTheRecord(t *testing.T) {
	got := decode(t, appendLine(nil, full(), 4))
	want := map[string]any{
		"time": "2026-11-21T07:08:09.123456Z", "tenant": "main", "service": "shop", "route": "search",
		"revision": "0123456789abcdef", "change": "c-7", "arm": "baseline", "rescued": true, "zone": "eu", "pop": "ams", "node": "ams-1",
		"client": "192.0.2.7", "peer": "10.0.0.9", "rtt_ms": 1.5, "protocol": "HTTP/2.0", "tls": "1.3", "reused": true,
		"method": "GET", "host": "shop.example", "path": "/search", "request_head_bytes": 321., "request_body_bytes": 5.,
		"status": 502., "answer_head_bytes": 200., "answer_body_bytes": 1024., "coding": "br", "uncoded_bytes": 4096., "upgraded": true, "broken": true,
		"head_ms": 1., "first_byte_ms": 12.345, "total_ms": 20.,
		"cache": "stale", "cache_status": 304., "cache_ttl_s": -3., "cache_stored": true, "cache_collapsed": true,
		"cache_stale": true, "cache_detail": "swr", "origin": "web", "attempts": 2.,
		"tries": []any{
			map[string]any{"endpoint": "10.0.0.1:80", "start_ms": 2., "error": "connection_refused"},
			map[string]any{"endpoint": "10.0.0.2:80", "start_ms": 3., "first_byte_ms": 4., "status": 502., "reused": true},
		},
		"proxy_error": "connection_refused", "fallback": "stale",
		"function": "render", "function_cpu_ms": 3., "function_memory_bytes": 65536., "function_fetches": 2., "function_failed": "default", "trap": "0123456789abcdef", "why_bad": "origin failed", "limit": "body",
		"detail":   `origin "web" at 10.0.0.1:80: connection_refused`,
		"trace_id": "01000000000000000000000000000002", "span_id": "0300000000000000", "parent_id": "0400000000000000",
		"weight": 4.,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

// The table that people read and the lines that machines read must not part.
func TestLineHasTheDocumentedFieldsInTheirOrder(t *testing.T) {
	text := string(appendLine(nil, full(), 4))
	at := 0
	for _, f := range Fields() {
		i := strings.Index(text[at:], `"`+f.Name+`":`)
		if i < 0 {
			t.Fatalf("field %q is not in the line, or not in its place: %s", f.Name, text[at:])
		}
		at += i
	}
	if got, want := len(decode(t, []byte(text))), len(Fields()); got != want {
		t.Errorf("the line has %d fields, %d are documented", got, want)
	}
}

func TestEmptyRecordIsAShortValidLine(t *testing.T) {
	got := decode(t, appendLine(nil, &record.Record{}, 1))
	want := map[string]any{"time": "0001-01-01T00:00:00.000000Z", "status": 0., "total_ms": 0.}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestMillisecondsHaveMicroseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                              "0",
		999 * time.Nanosecond:          "0",
		time.Microsecond:               "0.001",
		1200 * time.Microsecond:        "1.200",
		90 * time.Second:               "90000",
		-1500 * time.Microsecond:       "-1.500",
		time.Duration(math.MaxInt64):   "9223372036854.775",
		time.Duration(math.MinInt64):   "-9223372036854.775",
		time.Millisecond + time.Second: "1001",
	} {
		if got := string(appendMillis(nil, d)); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestChoiceOfLines(t *testing.T) {
	all, errors, none := selvage.LogChoice{Share: 1, Errors: true}, selvage.LogChoice{Errors: true}, selvage.LogChoice{}
	good, bad := plain(), full()
	gone := plain()
	gone.WhyBad, gone.Answer.Broken = record.ClientGone, true
	unmatched := &record.Record{}
	for _, tt := range []struct {
		name   string
		r      *record.Record
		choice selvage.LogChoice
		want   bool
	}{
		{"good, all", good, all, true},
		{"good, errors", good, errors, false},
		{"good, none", good, none, false},
		{"bad, all", bad, all, true},
		{"bad, errors", bad, errors, true},
		{"bad, none", bad, none, false},
		{"client gone, errors", gone, errors, false},
		{"client gone, all", gone, all, true},
		{"no route", unmatched, none, true},
	} {
		tt.r.Target.Log = tt.choice
		if weight, got := chosen(tt.r); got != tt.want || got && weight != 1 {
			t.Errorf("%s: written %v with weight %v, want %v with 1", tt.name, got, weight, tt.want)
		}
	}
}

func TestShareOfLinesStandsForAll(t *testing.T) {
	r := plain()
	r.Target.Log = selvage.LogChoice{Share: .01, Errors: true}
	const n = 200_000
	var lines int
	var sum float64
	for range n {
		Continue(nil, r)
		weight, ok := chosen(r)
		again, same := chosen(r)
		if ok != same || weight != again {
			t.Fatal("the same trace was chosen once and not twice")
		}
		if ok {
			lines++
			sum += weight
		}
	}
	// Six standard deviations of a binomial around 2,000.
	if lines < 1730 || lines > 2270 {
		t.Errorf("%d lines of %d requests, want about 2000", lines, n)
	}
	if want := float64(lines) * 100; math.Abs(sum-want) > 1e-6*want {
		t.Errorf("the lines stand for %v requests, want %v", sum, want)
	}
	r.WhyBad = record.OwnError
	if weight, ok := chosen(r); !ok || weight != 1 {
		t.Errorf("an error is written %v with weight %v, want always with 1", ok, weight)
	}
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain", "\x00\x1f\x7f\"\\/", "é\u2028\u2029\ufffd", "\xff\xc3", "\xed\xa0\x80", "a\nb\rc\td"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := appendString(nil, s)
		if !utf8.Valid(out) {
			t.Fatalf("%q became %q, which is not UTF-8", s, out)
		}
		var got string
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%q became %q: %v", s, out, err)
		}
		// The standard library decodes what is not UTF-8 in the same way.
		want := strings.Map(func(r rune) rune { return r }, s)
		if got != want {
			t.Fatalf("%q came back as %q, want %q", s, got, want)
		}
		if i := strings.IndexFunc(string(out), func(r rune) bool { return r < ' ' || r == '\x7f' || r == '\u2028' || r == '\u2029' }); i >= 0 {
			t.Fatalf("%q became %q with a raw control character", s, out)
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add("GET", "a.example", "/", "", int64(1), int64(5), int64(7))
	f.Add("\xff", "\"", "\\", "\n", int64(-1), int64(math.MinInt64), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, method, host, path, detail string, size, took, at int64) {
		r := full()
		r.Request.Method, r.Request.Host, r.Request.Path, r.Detail = method, host, path, detail
		r.Answer.BodyBytes, r.Timing.End, r.Cache.TTL = size, time.Duration(took), time.Duration(took)
		r.Start = time.Unix(at, took)
		line := appendLine(nil, r, 1)
		if strings.Count(string(line), "\n") != 1 {
			t.Fatalf("%q is not one line", line)
		}
		got := decode(t, line)
		if _, err := time.Parse(time.RFC3339Nano, got["time"].(string)); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	r := plain()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendLine(buf[:0], r, 1)
	}
}

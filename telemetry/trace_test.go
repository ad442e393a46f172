package telemetry

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/record"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceparentIsReadAsTheSpecificationSays(t *testing.T) {
	tests := []struct {
		in    string
		ok    bool
		flags byte
	}{
		{parent, true, 1},
		{parent[:53] + "00", true, 0},
		{parent[:53] + "ff", true, 3},
		{"cc" + parent[2:], true, 1},
		{"cc" + parent[2:] + "-what-the-future-will-be-like", true, 1},
		{"cc" + parent[2:] + ".what", false, 0},
		{parent + "-more", false, 0},
		{parent + "-", false, 0},
		{"ff" + parent[2:], false, 0},
		{strings.ToUpper(parent), false, 0},
		{parent[:54], false, 0},
		{"", false, 0},
		{" " + parent, false, 0},
		{strings.Replace(parent, "4bf92f3577b34da6a3ce929d0e0e4736", strings.Repeat("0", 32), 1), false, 0},
		{strings.Replace(parent, "00f067aa0ba902b7", strings.Repeat("0", 16), 1), false, 0},
		{strings.Replace(parent, "4bf9", "4bg9", 1), false, 0},
		{strings.ReplaceAll(parent, "-", "_"), false, 0},
	}
	for _, tt := range tests {
		if _, _, flags, ok := parseParent(tt.in); ok != tt.ok || ok && flags != tt.flags {
			t.Errorf("parseParent(%q) = flags %02x, %v; want %02x, %v", tt.in, flags, ok, tt.flags, tt.ok)
		}
	}
}

func TestTraceGoesOnUnderTheSameID(t *testing.T) {
	h := http.Header{"Traceparent": {parent}, "Tracestate": {"rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"}}
	var r record.Record
	Continue(h, &r)
	Inject(h, &r)
	got := h.Get("traceparent")
	if got[:36] != parent[:36] || got[52:] != parent[52:] {
		t.Errorf("sent on %q, want the trace and flags of %q", got, parent)
	}
	if got[36:52] == parent[36:52] {
		t.Errorf("sent on %q with the caller's span, want our own", got)
	}
	if want := hex.EncodeToString(r.Trace.SpanID[:]); got[36:52] != want {
		t.Errorf("sent on the span %s, the record has %s", got[36:52], want)
	}
	if want := "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"; h.Get("tracestate") != want {
		t.Errorf("tracestate %q, want %q", h.Get("tracestate"), want)
	}
	if want := "00f067aa0ba902b7"; hex.EncodeToString(r.Trace.Parent[:]) != want {
		t.Errorf("parent %x, want %s", r.Trace.Parent, want)
	}
}

func TestTraceBeginsWhereThereIsNoValidOne(t *testing.T) {
	for name, h := range map[string]http.Header{
		"none":  {},
		"two":   {"Traceparent": {parent, parent}, "Tracestate": {"a=b"}},
		"wrong": {"Traceparent": {"00-zz"}, "Tracestate": {"a=b"}},
	} {
		var r record.Record
		Continue(h, &r)
		Inject(h, &r)
		_, span, flags, ok := parseParent(h.Get("traceparent"))
		if !ok || flags != flagSampled|flagRandom || span != r.Trace.SpanID {
			t.Errorf("%s: sent on %q, want a valid traceparent with our span and both flags", name, h.Get("traceparent"))
		}
		if h.Get("tracestate") != "" || r.Trace.Parent != [8]byte{} {
			t.Errorf("%s: tracestate %q and parent %x of no trace, want none", name, h.Get("tracestate"), r.Trace.Parent)
		}
		if want := hex.EncodeToString(r.Trace.TraceID[:]); h.Get("X-Request-ID") != want {
			t.Errorf("%s: X-Request-ID %q, want the trace id %q", name, h.Get("X-Request-ID"), want)
		}
	}
}

func TestRequestIDIsKeptIfItIsHarmless(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		keep bool
	}{
		{[]string{"f7a0-42"}, true},
		{[]string{strings.Repeat("x", 128)}, true},
		{[]string{strings.Repeat("x", 129)}, false},
		{[]string{"a b"}, false},
		{[]string{"é"}, false},
		{[]string{""}, false},
		{[]string{"a", "b"}, false},
	} {
		h := http.Header{"X-Request-Id": tt.in}
		var r record.Record
		Continue(h, &r)
		Inject(h, &r)
		if got := len(h["X-Request-Id"]) == 1 && h["X-Request-Id"][0] == tt.in[0]; got != tt.keep {
			t.Errorf("X-Request-ID %q became %q; kept %v, want %v", tt.in, h["X-Request-Id"], got, tt.keep)
		}
	}
}

func TestTracestateIsDroppedWhereItIsMalformed(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("a=b,", 33), ",")
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{nil, ""},
		{[]string{"a=b"}, "a=b"},
		{[]string{"a=b", "c=d"}, "a=b,c=d"},
		{[]string{"a=b, ,\tc=d"}, "a=b, ,\tc=d"},
		{[]string{"1t@sys=x"}, "1t@sys=x"},
		{[]string{"a=b c"}, "a=b c"},
		{[]string{""}, ""},
		{[]string{"a"}, ""},
		{[]string{"A=b"}, ""},
		{[]string{"1a=b"}, ""},
		{[]string{"a=b=c"}, ""},
		{[]string{"a=é"}, ""},
		{[]string{"a="}, ""},
		{[]string{"a@=b"}, ""},
		{[]string{"@a=b"}, ""},
		{[]string{"a@b@c=d"}, ""},
		{[]string{strings.Repeat("a", 257) + "=b"}, ""},
		{[]string{"a=" + strings.Repeat("b", 257)}, ""},
		{[]string{many}, ""},
		{[]string{many[:len(many)-4]}, many[:len(many)-4]},
	} {
		if got := parseState(tt.in); got != tt.want {
			t.Errorf("parseState(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzTrace(f *testing.F) {
	f.Add(parent, "a=b,c=d")
	f.Add("cc"+parent[2:]+"-x", "a@b=c")
	f.Add("", ",,,")
	f.Fuzz(func(t *testing.T, traceparent, tracestate string) {
		h := http.Header{"Traceparent": {traceparent}, "Tracestate": {tracestate}}
		var r record.Record
		Continue(h, &r)
		Inject(h, &r)
		id, span, flags, ok := parseParent(h["Traceparent"][0])
		if !ok || id != r.Trace.TraceID || span != r.Trace.SpanID || flags != r.Trace.Flags {
			t.Fatalf("%q became %q, which is not the record's %+v", traceparent, h["Traceparent"], r.Trace)
		}
		if r.Trace.Parent != [8]byte{} && !strings.Contains(traceparent, hex.EncodeToString(id[:])) {
			t.Fatalf("%q continued as another trace, %x", traceparent, id)
		}
		state := h.Get("Tracestate")
		if strings.ContainsAny(state, "\r\n\x00") || parseState([]string{state}) != state {
			t.Fatalf("%q became %q, which does not read as itself", tracestate, state)
		}
	})
}

func BenchmarkContinueAndInject(b *testing.B) {
	h := http.Header{"X-Request-Id": {"a"}}
	var r record.Record
	b.ReportAllocs()
	for b.Loop() {
		delete(h, "Traceparent")
		Continue(h, &r)
		Inject(h, &r)
	}
}

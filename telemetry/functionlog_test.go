package telemetry

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage/record"
)

// said is what a log in a file has, each line read; its times are taken out.
func said(t *testing.T, take func(*FunctionLog)) []map[string]any {
	t.Helper()
	file := filepath.Join(t.TempDir(), "functions.log")
	l, err := NewFunctionLog(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	take(l)
	ended, end := context.WithCancel(t.Context())
	end()
	if err := l.Run(ended); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]any
	for line := range strings.Lines(string(text)) {
		got := decode(t, []byte(line))
		if at, _ := got["time"].(string); len(at) != len("2026-11-21T07:08:09.123456Z") {
			t.Errorf("time %q", at)
		}
		delete(got, "time")
		all = append(all, got)
	}
	return all
}

func fullFunctionLine() FunctionLine {
	return FunctionLine{
		Tenant: "main", Service: "shop", Revision: "0123456789abcdef", Function: "cart", Place: record.Place{Zone: "eu", POP: "ams", Node: "ams-1"},
		Endpoint: "orders", TraceID: [16]byte{0: 1, 15: 2}, Text: []byte("{\"a\": 1}\nmore\x1b[31m\n"),
	}
}

func TestWhatAFunctionWritesIsALine(t *testing.T) {
	got := said(t, func(l *FunctionLog) { l.Take(fullFunctionLine()) })
	want := []map[string]any{{
		"tenant": "main", "service": "shop", "revision": "0123456789abcdef", "function": "cart", "zone": "eu", "pop": "ams", "node": "ams-1",
		"endpoint": "orders", "trace_id": "01000000000000000000000000000002", "text": "{\"a\": 1}\nmore\x1b[31m",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStandardOutputIsALineEach(t *testing.T) {
	got := said(t, func(l *FunctionLog) {
		l.Take(FunctionLine{Function: "a", Text: []byte("one\r\ntwo\n\nthree")})
		l.Take(FunctionLine{Function: "a"})
		l.Take(FunctionLine{Function: "a", Endpoint: "e"}) // an empty line is what it wrote
	})
	var texts []string
	for _, line := range got {
		texts = append(texts, line["text"].(string))
	}
	if diff := cmp.Diff([]string{"one", "two", "", "three", ""}, texts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFunctionLinesHaveTheDocumentedFieldsInTheirOrder(t *testing.T) {
	line := fullFunctionLine()
	text := string(appendFunctionLine(nil, full().Start, &line, line.Text))
	at := 0
	for _, f := range FunctionFields() {
		i := strings.Index(text[at:], `"`+f.Name+`":`)
		if i < 0 {
			t.Fatalf("field %q is not in the line, or not in its place: %s", f.Name, text[at:])
		}
		at += i
	}
	if got, want := len(decode(t, []byte(text))), len(FunctionFields()); got != want {
		t.Errorf("the line has %d fields, %d are documented", got, want)
	}
}

func TestFunctionLinesThatDoNotFitAreCounted(t *testing.T) {
	var limits []string
	var taken, dropped uint64
	got := said(t, func(l *FunctionLog) {
		l.Buffer, l.OnLimit = 400, func(limit string) { limits = append(limits, limit) }
		l.Take(FunctionLine{Function: "a", Text: []byte("one\ntwo\n")})
		l.Take(FunctionLine{Function: "a", Text: []byte(strings.Repeat("line\n", 10))})
		l.Take(FunctionLine{Function: "a", Text: []byte("three\n")})
		taken, dropped = l.Taken(), l.Dropped()
	})
	if len(got) != 3 || taken != 3 || dropped != 10 || len(limits) != 1 || limits[0] != "function_log" {
		t.Errorf("%d lines, taken %d, dropped %d, limits %v; want 3, 3, 10 and function_log once", len(got), taken, dropped, limits)
	}
}

// What is dropped for want of room is not made first: each of many requests might do so at once.
func TestFunctionLinesThatCannotFitTakeNoMemory(t *testing.T) {
	var dropped, took uint64
	got := said(t, func(l *FunctionLog) {
		l.Buffer = 4 << 10
		text := bytes.Repeat([]byte("\n"), 64<<10)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l.Take(FunctionLine{Function: "a", Text: text})
		runtime.ReadMemStats(&after)
		dropped, took = l.Dropped(), after.TotalAlloc-before.TotalAlloc
	})
	if len(got) != 0 || dropped != 64<<10 {
		t.Errorf("%d lines were written and %d dropped, want 0 and 65536", len(got), dropped)
	}
	if took > 1<<20 {
		t.Errorf("%d bytes were allocated for what was dropped", took)
	}
}

func TestAFunctionLogMayBeOff(t *testing.T) {
	l, err := NewFunctionLog("off", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Take(fullFunctionLine())
	if l.Taken() != 0 || l.Dropped() != 0 {
		t.Errorf("taken %d, dropped %d", l.Taken(), l.Dropped())
	}
	if _, err := NewFunctionLog(t.TempDir(), nil); err == nil || !strings.HasPrefix(err.Error(), "open function log: ") {
		t.Errorf("a folder: %v", err)
	}
}

// A line of a function must not cost it more than the line.
func TestAFunctionLineCostsNoMemoryOfItsOwn(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	l, err := NewFunctionLog("stderr", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Buffer, l.pending = 1<<20, make([]byte, 0, 1<<20)
	line := fullFunctionLine()
	if n := testing.AllocsPerRun(100, func() { l.Take(line) }); n > 3 {
		t.Errorf("%v allocations a line, want at most 3", n)
	}
}

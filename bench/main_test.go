package main

import (
	"strings"
	"testing"
)

// rounds are what a server did in each round, by rate and with as many microseconds less.
func rounds(name, base string, rates ...float64) *result {
	r := &result{server: name, base: base}
	for _, v := range rates {
		r.slices = append(r.slices, slice{rate: v, cpu: 1e6 / v})
	}
	return r
}

func TestServersAreComparedRoundByRound(t *testing.T) {
	// A machine that is twice as fast in every second round: each server's median is of one or
	// of the other kind of rounds, and their ratio says nothing.
	first := rounds("one", "", 100, 200, 100, 200, 100)
	other := rounds("two", "", 180, 90, 180, 90, 180)
	if got, want := paired(first, other, byRate).median, 100.0/180; got != want {
		t.Errorf("median of the rounds' ratios is %v, want %v", got, want)
	}
	same := rounds("three", "", 80, 160, 80, 160, 80)
	if got, want := paired(first, same, byRate), (quartiles{1.25, 1.25, 1.25}); got != want {
		t.Errorf("a server that always has 4 of 5 is compared as %v, want %v", got, want)
	}
	var text strings.Builder
	table(&text, row{name: "judged"}, []*result{first, same, rounds("turned", "turned", 10, 10, 10, 10, 10), rounds("turned, judging", "turned", 8, 8, 8, 8, 8)})
	for _, want := range []string{"| three | 80 | 12500.0 | 0.0 ms | 1.250 (1.250–1.250) | 1.250 (1.250–1.250) |", "| turned, judging | 8 | 125000.0 | 0.0 ms | 1.250 (1.250–1.250) |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, text.String())
		}
	}
}

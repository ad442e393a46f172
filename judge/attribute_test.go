package judge

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ring is 8,000 bads and 32,000 goods at most, each good standing for 20; hurt
// says which requests fail half of the time.
func ring(seed uint64, n int, hurt func(v *[dimensions]string) bool) []Sample {
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []Sample
	for range n {
		var v [dimensions]string
		v[ByPOP] = []string{"ams", "fra", "nyc"}[rng.IntN(3)]
		v[ByNode] = v[ByPOP] + "1" // an alias of the POP
		v[ByRevision] = []string{"old", "old", "old", "new"}[rng.IntN(4)]
		v[ByRoute] = fmt.Sprint("r", rng.IntN(8))
		v[ByMethod] = []string{"GET", "GET", "POST"}[rng.IntN(3)]
		v[ByEndpoint] = fmt.Sprint("10.0.0.", rng.IntN(4))
		v[ByNetwork] = fmt.Sprint("AS", rng.IntN(50))
		v[ByProtocol] = []string{"HTTP/1.1", "HTTP/2.0"}[rng.IntN(2)]
		bad := rng.Float64() < 0.001 || hurt(&v) && rng.Float64() < 0.5
		if bad {
			out = append(out, Sample{Bad: true, Values: v})
		} else if rng.IntN(20) == 0 {
			out = append(out, Sample{Weight: 20, Values: v})
		}
	}
	return out
}

func TestAttributionNamesWhatWasPlanted(t *testing.T) {
	for _, tc := range []struct {
		name string
		hurt func(*[dimensions]string) bool
		want []Condition
	}{
		{"one endpoint", func(v *[dimensions]string) bool { return v[ByEndpoint] == "10.0.0.2" }, []Condition{{ByEndpoint, "10.0.0.2"}}},
		{
			"the new revision on one route", func(v *[dimensions]string) bool { return v[ByRevision] == "new" && v[ByRoute] == "r3" },
			[]Condition{{ByRevision, "new"}, {ByRoute, "r3"}},
		},
		{
			"three together", func(v *[dimensions]string) bool {
				return v[ByRevision] == "new" && v[ByRoute] == "r3" && v[ByMethod] == "POST"
			},
			[]Condition{{ByRevision, "new"}, {ByRoute, "r3"}, {ByMethod, "POST"}},
		},
	} {
		got := Attribute(ring(4, 60_000, tc.hurt), 3)
		if len(got) == 0 {
			t.Errorf("%s: nobody is suspected", tc.name)
			continue
		}
		if diff := cmp.Diff(tc.want, got[0].Where); diff != "" {
			t.Errorf("%s (want -, got +):\n%s", tc.name, diff)
		}
	}
}

func TestAliasesAreOneSuspect(t *testing.T) {
	got := Attribute(ring(9, 60_000, func(v *[dimensions]string) bool { return v[ByPOP] == "fra" }), 5)
	if len(got) == 0 || len(got[0].Aliases) == 0 {
		t.Fatalf("got %+v, want the POP and its node as one suspect", got)
	}
	for _, s := range got[1:] {
		for _, c := range s.Where {
			if c.Value == "fra1" && len(s.Where) == 1 {
				t.Error("the POP's only node is a suspect beside the POP")
			}
		}
	}
}

func TestWithoutBadsNobodyIsSuspected(t *testing.T) {
	goods := ring(2, 2000, func(*[dimensions]string) bool { return false })
	for i := range goods {
		goods[i].Bad = false
	}
	if got := Attribute(goods, 5); got != nil {
		t.Errorf("got %v", got)
	}
	if got := Attribute(nil, 5); got != nil {
		t.Errorf("got %v", got)
	}
}

package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/selvage-edge/selvage"
)

// fitting is how many objects fit into the stores of the ratios, about.
const fitting = 20_000

// ratios writes the share of hits of each rule under each load.
func ratios(w io.Writer, seed uint64, requests int) {
	fmt.Fprintf(w, "## Hits\n\nShare of requests answered from the store, bodies of 2 KiB, %d objects and where it says so others. All rules have room for as many objects as ours held in the end.\n\n", universe)
	fmt.Fprint(w, "| load | room | LRU | W-TinyLFU | ours | best possible |\n|---|---|---|---|---|---|\n")
	all := loads(seed)
	rows := make([]string, len(all))
	var wg sync.WaitGroup
	for i, l := range all {
		wg.Go(func() { rows[i] = ratio(l, requests) })
	}
	wg.Wait()
	for _, row := range rows {
		fmt.Fprint(w, row)
	}
	fmt.Fprintln(w)
}

func ratio(l load, requests int) string {
	asked := make([]uint32, requests)
	for i := range asked {
		asked[i] = l.next()
	}
	body := selvage.ByteSize(2 << 10)
	e := newEdge(fitting*costOf(body), int(body))
	defer e.store.Close()
	ours := 0
	for _, k := range asked {
		if e.ask(k) {
			ours++
		}
	}
	places := e.store.Stats().Objects
	recent, tiny := newLRU(places), newTinyLFU(places)
	byRecency, byFrequency := 0, 0
	for _, k := range asked {
		if recent.ask(k) {
			byRecency++
		}
		if tiny.ask(k) {
			byFrequency++
		}
	}
	share := func(n int) float64 { return 100 * float64(n) / float64(requests) }
	return fmt.Sprintf("| %s | %d | %.1f %% | %.1f %% | %.1f %% | %.1f %% |\n", l.name, places,
		share(byRecency), share(byFrequency), share(ours), share(best(asked, places)))
}

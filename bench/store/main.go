// Command store measures the memory store of the cache: how often it has what
// is asked for, beside other rules of eviction, and what a million stored
// answers cost.
//
// Look at main for the parts, at loads.go for what is asked for, at rules.go
// for the other rules, at canned.go for what a hit costs through the node.
//
// It promises the same hit ratios for the same seed: all chance comes from it,
// and every request of the ratios goes through a real cache.Transport. It
// refuses to compare times between machines: those of hits and purges are given
// beside a small store's of the same run.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/selvage-edge/selvage/node"
)

func main() {
	seed := flag.Uint64("seed", 1, "of all chance")
	requests := flag.Int("requests", 2_000_000, "of each load of the ratios")
	objects := flag.Int("objects", 1_000_000, "that are stored for the costs")
	rounds := flag.Int("rounds", 200, "of blocks for what a hit costs beside a canned answer")
	only := flag.String("only", "", "one part: ratios, canned or costs")
	out := flag.String("o", "", "file to write; standard output if empty")
	flag.Parse()
	w := io.Writer(os.Stdout)
	if *out != "" {
		f, err := os.Create(*out)
		if err != nil {
			fmt.Fprintln(os.Stderr, "store:", err)
			os.Exit(1)
		}
		defer f.Close()
		w = f
	}
	fmt.Fprintf(w, "# The memory store, %s\n\n`go run ./bench/store -seed %d -requests %d -objects %d`\n\n",
		time.Now().Format(time.DateOnly), *seed, *requests, *objects)
	if part := *only; part == "" || part == "ratios" {
		ratios(w, *seed, *requests)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go node.TuneCollector(ctx) // ends with the program
	if part := *only; part == "" || part == "canned" {
		if err := canned(w, *rounds); err != nil {
			fmt.Fprintln(os.Stderr, "store: ask for a hit:", err)
			os.Exit(1)
		}
	}
	if part := *only; part == "" || part == "costs" {
		costs(w, *objects)
	}
}

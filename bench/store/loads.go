package main

import (
	"math/rand/v2"
)

// load is what is asked for, in order: numbers of objects.
type load struct {
	name string
	next func() uint32
}

// universe is how many objects are asked for again; what a scan asks for comes on top.
const universe = 200_000

func loads(seed uint64) []load {
	return []load{
		{"Zipf, exponent 0.8", zipf(seed, 0.8, nil)},
		{"Zipf, exponent 1.0", zipf(seed, 1.0, nil)},
		{"Zipf 1.0, a tenth of it crawlers that ask for all once", scans(seed)},
		{"Zipf 1.0, what is asked for moves by a tenth every 100,000", shifts(seed)},
		{"a loop over 1.5 times what fits", loop()},
	}
}

// zipf draws object k with a chance that goes by 1/k^exponent. place, if any, says which object that is.
func zipf(seed uint64, exponent float64, place func(rank uint32) uint32) func() uint32 {
	r := rand.New(rand.NewPCG(seed, 1))
	sums := make([]float64, universe)
	sum := 0.0
	for i := range sums {
		sum += 1 / pow(float64(i+1), exponent)
		sums[i] = sum
	}
	return func() uint32 {
		rank := search(sums, r.Float64()*sum)
		if place != nil {
			rank = place(rank)
		}
		return rank
	}
}

// scans mixes in readers of everything, which come back to nothing.
func scans(seed uint64) func() uint32 {
	popular := zipf(seed, 1, nil)
	r := rand.New(rand.NewPCG(seed, 2))
	once := uint32(universe)
	return func() uint32 {
		if r.Float64() >= 0.1 {
			return popular()
		}
		once++
		return once
	}
}

// shifts gives a tenth of the ranks to other objects, again and again.
func shifts(seed uint64) func() uint32 {
	r := rand.New(rand.NewPCG(seed, 3))
	places := make([]uint32, universe)
	for i := range places {
		places[i] = uint32(i)
	}
	n := 0
	popular := zipf(seed, 1, func(rank uint32) uint32 { return places[rank] })
	return func() uint32 {
		if n++; n%100_000 == 0 {
			for range universe / 20 {
				i, j := r.IntN(universe), r.IntN(universe)
				places[i], places[j] = places[j], places[i]
			}
		}
		return popular()
	}
}

// loop is the load that a queue by recency never has.
func loop() func() uint32 {
	n := uint32(0)
	return func() uint32 {
		n = (n + 1) % (fitting * 3 / 2)
		return n
	}
}

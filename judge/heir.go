package judge

// Heir returns an empty book that has learned what b has: a rollout begins with
// the marks of the time before it, and with no evidence.
func (b *Book) Heir(o Options) *Book {
	next := NewBook(o)
	for _, s := range b.strata {
		to := next.strata[next.stratum(s.name)]
		to.latency.merge(&s.latency)
		to.size.merge(&s.size)
	}
	return next
}

// merge adds what another histogram has counted.
func (h *histogram) merge(from *histogram) {
	h.n = 0
	for i := range h.counts {
		h.counts[i] += from.counts[i]
		h.n += h.counts[i]
	}
}

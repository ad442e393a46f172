// Package node puts the edge together: it ties the stages to each other, to
// the listeners and to the sinks, and replaces what people deployed without
// dropping what is under way.
//
// Look at [Node] first, then at ServeHTTP in pipeline.go, which is the order of
// the stages and the only place that has it. What people deployed is compiled
// into revisions (revision.go), which are immutable; what must outlive them
// (pools, the store, counters) is in the registry (registry.go).
//
// It promises that a configuration that cannot be compiled whole changes
// nothing, that a request keeps its revision to its end, and that no lock is
// taken on a request's way. It refuses to judge requests itself: that is the
// stages'.
package node

// Package edgetest is the test bed: a network in memory, scripted origins on
// it, and a player of whole-edge scenarios on virtual time.
//
// Look at [Network] first: it gives net.Conn and net.Listener with 64 KiB of
// buffer each way, half-close, reset and deadlines, and names that resolve.
// [Origin] is an origin server on it that answers, stalls, resets or talks
// garbage as its script says. [Play] plays a text file, whose language is in
// doc/scenarios.md, against an edge that the caller starts.
//
// It promises that all waiting in it is durable in the sense of
// testing/synctest, so that in a bubble a day passes in microseconds, and that
// nothing is left running when what was started is ended. It imports no stage
// and no node, so that the tests of every package may use it.
//
// It refuses to model latency, loss and reordering, and to be fast.
package edgetest

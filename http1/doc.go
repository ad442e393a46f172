// Package http1 speaks HTTP/1.1 (RFC 9110, RFC 9112) to clients and to origins.
//
// Look at [Server] first: it serves connections with an http.Handler above it.
// [Transport] is the other side, an http.RoundTripper to one endpoint. Both
// stand on the same codec: [Head] is a parsed head, and one machine of heads
// and bodies guards every byte of a connection until it is upgraded.
//
// It promises that what it accepts can be read in one way only: every message
// that two readers could frame differently is refused, and nothing it writes
// holds a line break that it did not put there itself. It has no clock of its
// own, starts nothing before it is used, and holds no buffer for a connection
// that waits.
//
// It refuses HTTP/0.9, CONNECT, the upgrade to h2c, line folding, bare line
// feeds, and everything else that RFC 9112 lets a lenient server repair;
// doc/rationale.md says where it chose.
package http1

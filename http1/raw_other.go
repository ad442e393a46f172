//go:build !linux

package http1

import (
	"net"
	"time"
)

// rawWire is the raw driver, which only linux has.
type rawWire struct{}

func newRawWire(*conn) *rawWire { return nil }

func (*rawWire) loop() {}

func (*rawWire) write([4][]byte) error { return net.ErrClosed }

func (*rawWire) handOver() (net.Conn, error) { return nil, net.ErrClosed }

func (*conn) measureRTT() time.Duration { return 0 }

// watcher sees clients go, which only linux tells.
type watcher struct{}

func (*watcher) add(*conn) uint64 { return 0 }

func (*watcher) remove(uint64) {}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// paced asks at a fixed rate, whatever the answers take, and says how long each
// took from the moment at which it was due: a server that stops for a while
// cannot hide it by being asked less.
type paced struct {
	address, path string
	rate          int // requests a second
	conns         int
}

// run asks until it is over, and returns the latencies in order.
func (p paced) run(ctx context.Context, over <-chan struct{}) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var wg sync.WaitGroup
	began := time.Now().Add(10 * time.Millisecond)
	every := time.Second * time.Duration(p.conns) / time.Duration(p.rate)
	for i := range p.conns {
		wg.Go(func() {
			took, err := p.one(ctx, began.Add(every*time.Duration(i)/time.Duration(p.conns)), every, over)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, took...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	slices.Sort(all)
	if failed == nil && len(all) == 0 {
		failed = errNothing
	}
	return all, failed
}

// one asks over one connection.
func (p paced) one(ctx context.Context, due time.Time, every time.Duration, over <-chan struct{}) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	question := []byte("GET " + p.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
	buf := make([]byte, 8192)
	var took []time.Duration
	for ; ; due = due.Add(every) {
		select {
		case <-over:
			return took, nil
		case <-ctx.Done():
			return took, context.Cause(ctx)
		case <-time.After(time.Until(due)):
		}
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Write(question); err != nil {
			return took, err
		}
		n := 0
		for !bytes.HasSuffix(buf[:n], []byte("hello\n")) {
			k, err := conn.Read(buf[n:])
			if n += k; err != nil || n == len(buf) {
				return took, fmt.Errorf("%w after %q", err, buf[:min(n, 200)])
			}
		}
		took = append(took, time.Since(due))
	}
}

// quantile is a part of sorted latencies.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

package compute

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// warmFor is how long a program may take to start while nobody waits for it.
// One that sleeps longer than that starts with its first request.
const warmFor = 5 * time.Second

// Warm starts the program in a sandbox, up to where it asks for its request, so
// that the first request finds it there. An error says why it did not get that
// far: the first request will start the program, and will be told the same. What
// it logs meanwhile that request gets.
func (f *Function) Warm(ctx context.Context) error {
	if f.fresh != "" {
		return nil // there is nothing that a request would find
	}
	ctx, cancel := context.WithTimeoutCause(ctx, warmFor, fmt.Errorf("it started for more than %v", warmFor))
	defer cancel()
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("warm function: %w", context.Cause(ctx))
	}
	defer func() { <-f.slots }()
	b, err := f.take(ctx)
	if err != nil {
		return fmt.Errorf("warm function: %w", err)
	}
	if b.frozen == nil {
		err = b.start(ctx)
	}
	f.giveBack(b, b.back())
	if err != nil {
		return fmt.Errorf("warm function: %w", err)
	}
	return nil
}

// start runs the program until it asks for its request, and no further.
func (b *sandbox) start(ctx context.Context) error {
	g, onLimit := &b.guest, b.guest.onLimit
	b.starting, g.onLimit = true, nil // no request was hurt
	defer func() { b.starting, g.onLimit = false, onLimit }()
	return b.serve(ctx, &Invocation{
		W: nobody{}, R: &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}, Body: http.NoBody, Host: "localhost"},
		Log: func(p []byte) { b.said = append(b.said, p...) }, // the limit of logs bounds it
	})
}

// sayFirst gives a request what the program logged while it started.
func (b *sandbox) sayFirst() {
	if b.starting || len(b.said) == 0 {
		return
	}
	b.guest.Log(nil, b.said)
	b.said = nil
}

// nobody takes an answer that there is not.
type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

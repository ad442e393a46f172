package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// keyboard is what is typed while rollouts are watched, one after the other. A read of a
// terminal cannot be ended: so one reader, which ends with the process at the latest, reads for all of them,
// and the last one's would take the next one's first key. What is typed while nothing is watched is
// lost: it was meant for what was seen before.
type keyboard struct {
	mu      sync.Mutex // guards what follows
	reading bool
	ended   bool
	ear     chan byte // of who listens; nil: nobody does
}

// typedAhead is how many keys wait for who listens; more are lost.
const typedAhead = 16

// listen gives what is typed from now on, until deaf is called or the keyboard is gone.
func (k *keyboard) listen(from io.Reader) (keys <-chan byte, deaf func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ear := make(chan byte, typedAhead)
	if k.ended {
		close(ear)
		return ear, func() {}
	}
	k.ear = ear
	if !k.reading {
		k.reading = true
		go k.read(from) // nobody can end it before the process ends
	}
	return ear, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.ear = nil
	}
}

func (k *keyboard) read(from io.Reader) {
	key := make([]byte, 1)
	for {
		n, err := from.Read(key)
		k.mu.Lock()
		switch {
		case err != nil || n == 0:
			k.ended = true
			if k.ear != nil {
				close(k.ear)
			}
			k.mu.Unlock()
			return
		case k.ear != nil:
			select {
			case k.ear <- key[0]:
			default:
			}
		}
		k.mu.Unlock()
	}
}

// keys listens to the keyboard, if there is one, until ctx ends: u undoes, h
// holds, q leaves.
func (b *block) keys(ctx context.Context, k *keyboard, stop context.CancelFunc) error {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return nil
	}
	state, err := makeRaw(in)
	if err != nil {
		return fmt.Errorf("listen to the keyboard: %w", err)
	}
	typed, deaf := k.listen(os.Stdin)
	b.raw, b.deaf = state, deaf
	go b.hear(ctx, typed, stop) // it ends with ctx
	return nil
}

// hear acts on keys. A node that does not answer keeps nobody from leaving.
func (b *block) hear(ctx context.Context, typed <-chan byte, stop context.CancelFunc) {
	var asked sync.WaitGroup
	for leaving := false; ; {
		var key byte
		var ok bool
		select {
		case key, ok = <-typed:
		case <-ctx.Done():
		}
		switch {
		case !ok || ctx.Err() != nil:
			return
		case key == 3 || key == 4: // Ctrl-C
			stop()
			return
		case leaving:
		case key == 'u' || key == '\r': // the stream tells what came of it
			asked.Go(func() { b.ask(ctx, b.c.Undo) })
		case key == 'h':
			asked.Go(func() { b.ask(ctx, b.c.Hold) })
		case key == 'q':
			leaving = true
			go func() { // an undo that was asked for is not given up; Ctrl-C does not wait for it
				if asked.Wait(); ctx.Err() == nil {
					b.leave(stop)
				}
			}()
		}
	}
}

// leave is for who has pressed q.
func (b *block) leave(stop context.CancelFunc) {
	b.mu.Lock()
	b.quit = true
	b.mu.Unlock()
	stop()
}

func (b *block) end() {
	if b.raw != nil {
		b.deaf()
		_ = term.Restore(int(os.Stdin.Fd()), b.raw) // nothing can be done about a terminal that is gone
		b.raw = nil
	}
}

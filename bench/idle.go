package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// idle measures what servers cost that do nothing: fresh from the start, and
// with many connections that have had one answer each.
func (b *bench) idle(ctx context.Context, w io.Writer, conns int) error {
	fmt.Fprintf(w, "\n## Doing nothing\n\nTargets: idle under 40 MiB, 10,000 idle connections under 150 MiB, start to first answer under 300 ms.\n\n")
	fmt.Fprintf(w, "| server | idle | %d idle connections | KiB a connection | start to first answer |\n|---|---:|---:|---:|---:|\n", conns)
	for _, s := range b.servers {
		fresh, err := s.memory()
		if err != nil {
			return err
		}
		if conns > s.most && s.most > 0 {
			fmt.Fprintf(w, "| %s | %.0f MiB | holds %d at the most here | | %d ms |\n", s.name, fresh, s.most, s.started.Milliseconds())
			continue
		}
		held, err := s.hold(ctx, conns)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Fprintf(w, "| %s | %.0f MiB | %.0f MiB | %.1f | %d ms |\n", s.name, fresh, held, (held-fresh)*1024/float64(conns), s.started.Milliseconds())
	}
	return nil
}

// hold opens connections, has one answer on each, and reads the server's
// memory while they stand open.
func (s *server) hold(ctx context.Context, n int) (mib float64, err error) {
	open := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range n {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", cmp.Or(s.pass, s.hit)))
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", len(open)+1, err)
		}
		open = append(open, c)
		if _, err := io.WriteString(c, "GET /1k HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
			return 0, err
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", len(open), err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return 0, err
		}
		resp.Body.Close()
	}
	time.Sleep(5 * time.Second) // what was used for the answers settles
	return s.memory()
}

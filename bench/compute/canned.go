package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A server of canned answers is a yardstick: Go's own server in a process of its own, with the
// answer of the small program and no more to do. The bench starts itself again for it.
const (
	cannedAddress = "127.0.0.1:9962"
	cannedPath    = "/canned"
)

func (b *bench) startCanned(ctx context.Context) (*node, error) {
	own, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.launch(ctx, &node{address: cannedAddress, log: filepath.Join(b.dir, "canned.log")}, own, "canned")
}

// serveCanned serves until somebody ends the process.
func serveCanned() error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+cannedPath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello\n") // a client that is gone needs none
	})
	return (&http.Server{Addr: cannedAddress, Handler: mux, ReadHeaderTimeout: time.Minute}).ListenAndServe()
}

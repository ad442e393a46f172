// Command shop runs the toy shop as an origin.
//
// Look at main first. It promises to finish the answers that it began when it is told
// to end, and refuses to listen anywhere but where it is told.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage/examples/shop"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3000", "address to listen on")
	var o shop.Options
	flag.StringVar(&o.Data, "data", "", "folder for the orders; without it they are kept in memory only")
	flag.StringVar(&o.Name, "name", "shop", "what it says in Server")
	flag.StringVar((*string)(&o.Behave.Mode), "mode", "ok", "ok, error, slow, hang, garbage, close or cut")
	flag.IntVar(&o.Behave.Share, "share", 100, "of how many of 100 requests")
	flag.DurationVar(&o.Behave.Delay, "delay", 2*time.Second, "how slow slow is")
	flag.Parse()
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err == nil {
		fmt.Fprintf(os.Stderr, "shop: http://%s\n", l.Addr())
		err = run(ctx, l, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends, over HTTP/1.1 and, without TLS, HTTP/2.
func run(ctx context.Context, l net.Listener, o shop.Options) error {
	s, err := shop.New(o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }() // ends with Shutdown below, or before
	shopCtx, endShop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(shopCtx) }() // waited for below
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	s.EndStreams() // or the answers would never be through
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err = errors.Join(err, srv.Shutdown(grace))
	endShop()
	return errors.Join(err, <-ended)
}

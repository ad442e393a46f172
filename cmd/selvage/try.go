package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/examples/shop"
)

// tryUsers is how many shoppers the traffic has.
const tryUsers = 5

func tryCommand() *cobra.Command {
	var listen, admin string
	var quiet bool
	cmd := &cobra.Command{
		Use: "try", Short: "A toy shop, a little traffic and the edge in front, all in here", Args: cobra.NoArgs,
		Long: `Start a toy shop as the origin, the edge in front of it and a little traffic,
all in one process and a temporary folder. Ctrl-C ends everything and leaves
nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return try(cmd.Context(), cmd.ErrOrStderr(), newUI(os.Stderr), tryFlags{listen, admin, quiet})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address of the shop through the edge")
	cmd.Flags().StringVar(&admin, "admin", "127.0.0.1:9440", "admin address, or off")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "no traffic of our own")
	return cmd
}

type tryFlags struct {
	listen, admin string
	quiet         bool
}

func try(ctx context.Context, w io.Writer, u ui, f tryFlags) (err error) {
	folder, err := os.MkdirTemp("", "selvage-try-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	origin, err := startShop(ctx, folder)
	if err != nil {
		return err
	}
	defer origin.stop()
	conf, err := tryConfig(folder, origin.url, f)
	if err != nil {
		return err
	}
	e, err := newEdge(conf, slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})), nil)
	if err != nil {
		return err
	}
	base := "http://" + e.node.Addrs()[0].String()
	sayTry(w, u, base, origin.url, &conf)
	traffic, stopTraffic := context.WithCancel(ctx)
	defer stopTraffic()
	trafficEnded := make(chan struct{})
	go func() { // waited for below
		defer close(trafficEnded)
		if !f.quiet {
			shop.Traffic(traffic, base, tryUsers)
		}
	}()
	err = e.run(ctx, nil, nil)
	stopTraffic()
	<-trafficEnded
	return err
}

// tryConfig is the shop's own service file in front of the shop that was started.
func tryConfig(folder, originURL string, f tryFlags) (selvage.Config, error) {
	file, err := shop.WriteService(folder, originURL)
	if err != nil {
		return selvage.Config{}, err
	}
	l, err := config.Load("", []string{file})
	if err != nil {
		return selvage.Config{}, err
	}
	conf := l.Config
	conf.Node.Name, conf.Node.POP = "try-1", "local"
	conf.Node.Listen = []selvage.Listener{{Address: f.listen}}
	conf.Node.Admin.Address = f.admin
	conf.Node.Data = filepath.Join(folder, "data")
	conf.Node.AccessLog = filepath.Join(folder, "access.log")
	conf.Node.Deadlines.Drain = selvage.Duration(2 * time.Second)
	return conf, conf.Node.Validate().Err()
}

type shopServer struct {
	url  string
	stop func()
}

// startShop serves the shop on a free port of this machine.
func startShop(ctx context.Context, folder string) (*shopServer, error) {
	s, err := shop.New(shop.Options{Data: folder})
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan struct{}, 2)
	go func() { _ = srv.Serve(l); ended <- struct{}{} }() // waited for by stop; it ends by Close only
	go func() { _ = s.Run(ctx); ended <- struct{}{} }()   // waited for by stop; it ends with its context
	return &shopServer{"http://" + l.Addr().String(), func() {
		cancel()
		srv.Close()
		<-ended
		<-ended
	}}, nil
}

func sayTry(w io.Writer, u ui, base, originURL string, conf *selvage.Config) {
	folder := filepath.Dir(conf.Node.AccessLog)
	rows := [][2]string{{"shop", u.link(base) + "      try a page, then reload it"}}
	if conf.Node.Admin.Address != "off" {
		rows = append(rows, [2]string{"metrics", u.link("http://" + conf.Node.Admin.Address + "/metrics")})
	}
	rows = append(rows,
		[2]string{"origin", u.link(originURL) + "      the same without the edge"},
		[2]string{"log", filepath.Join(folder, "access.log")},
		[2]string{"service", filepath.Join(folder, "shop.yaml")})
	fmt.Fprintf(w, "\n  %s %s   a toy shop, a little traffic and the edge in front, all in here\n\n", u.strong("selvage"), versionString())
	for _, r := range rows {
		fmt.Fprintf(w, "  %-10s%s\n", r[0], r[1])
	}
	fmt.Fprintf(w, "\n  Then, in a second terminal:\n%s\n  Ctrl-C ends everything and leaves nothing behind.\n\n", tryHints(base, originURL, conf.Node.Data))
}

func tryHints(base, originURL, data string) string {
	var b strings.Builder
	for _, h := range [][2]string{
		{"curl -sD- -o/dev/null " + base + "/p/42", "the second time a hit: see Cache-Status"},
		{"selvage status --data " + data, "how it is"},
		{"curl -d mode=error " + originURL + "/_shop/behave", "break the origin; pages stay up, stale"},
		{"curl -d mode=ok " + originURL + "/_shop/behave", "and heal it"},
	} {
		fmt.Fprintf(&b, "    %s\n        %s\n", h[0], h[1])
	}
	return b.String()
}

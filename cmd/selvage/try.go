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
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/examples/shop"
)

// tryUsers is how many shoppers the traffic has.
const tryUsers = 5

func tryCommand() *cobra.Command {
	f := tryFlags{listen: "127.0.0.1:8080", admin: "127.0.0.1:9440"}
	cmd := &cobra.Command{
		Use: "try", Short: "A toy shop, a little traffic and the edge in front, all in here", Args: noArgs,
		Long: `Start a toy shop as the origin, the edge in front of it and a little traffic,
all in one process and a temporary folder. Ctrl-C ends everything and leaves
nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := try(cmd.Context(), cmd.ErrOrStderr(), newUI(os.Stderr), f)
			return sayProblems(cmd, err)
		},
	}
	cmd.Flags().Var(word{&f.listen, "address"}, "listen", "where the shop is, through the edge")
	cmd.Flags().Var(word{&f.admin, "address"}, "admin", "where operators come in, or off")
	cmd.Flags().BoolVar(&f.quiet, "quiet", false, "no traffic of our own")
	return cmd
}

type tryFlags struct {
	listen, admin string
	quiet         bool
}

func try(ctx context.Context, w io.Writer, u ui, f tryFlags) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // a closed terminal, too, must leave nothing behind
	defer stop()
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
	e, err := openEdge(ctx, conf, slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})), nil, false)
	if err != nil {
		return err
	}
	base := "http://" + e.node.Addrs()[0].String()
	tryScreen{w, u, base, origin.url}.greet(e, &conf)
	traffic, stopTraffic := context.WithCancel(ctx)
	defer stopTraffic()
	trafficEnded := make(chan struct{})
	go func() { // waited for below
		defer close(trafficEnded)
		if !f.quiet {
			shop.Traffic(traffic, base, tryUsers)
		}
	}()
	context.AfterFunc(ctx, func() { fmt.Fprintln(w, "\n  Ending.") })
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
	return conf, checkFlags(&conf.Node, true, true)
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

// tryScreen is what is said of a shop through the edge and without it.
type tryScreen struct {
	w            io.Writer
	u            ui
	base, origin string // URLs
}

// greet says where to look. It is not wider than 80 columns but for folders
// that the machine made longer.
func (s tryScreen) greet(e *edge, conf *selvage.Config) {
	w, u := s.w, s.u
	folder := filepath.Dir(conf.Node.AccessLog)
	rows := [][3]string{
		{"shop", u.link(s.base), "try a page, then reload it"},
		{"origin", u.link(s.origin), "the same without the edge"},
	}
	if addr := e.control.AdminAddr(); addr != nil {
		rows = append(rows, [3]string{"metrics", u.link("http://" + addr.String() + "/metrics"), ""})
	}
	rows = append(rows, [3]string{"service", filepath.Join(folder, "shop.yaml"), ""}, [3]string{"log", conf.Node.AccessLog, ""})
	fmt.Fprintf(w, "\n  %s %s   a toy shop, a little traffic, the edge in front\n\n", u.strong("selvage"), versionString())
	for _, r := range rows {
		if r[2] != "" {
			r[2] = "      " + u.dim(r[2])
		}
		fmt.Fprintf(w, "  %-10s  %s%s\n", r[0], r[1], r[2])
	}
	fmt.Fprintln(w)
	for i := range conf.Services {
		one := &conf.Services[i]
		fmt.Fprintf(w, "  %s %-8s  ready   %s, revision %s\n", u.sign(signOK), one.Service, count(len(one.Routes), "route"), config.Revision(*one))
	}
	fmt.Fprintf(w, "\n  Then, in a second terminal:\n%s\n  Ctrl-C ends everything and leaves nothing behind.\n\n", s.hints(conf.Node.Data))
}

func (s tryScreen) hints(data string) string {
	var b strings.Builder
	for _, h := range [][2]string{
		{"curl -sD- -o/dev/null " + s.base + "/p/42", "the second time a hit: see Cache-Status"},
		{"curl -d mode=error " + s.origin + "/_shop/behave", "break the origin: pages stay up, stale"},
		{self() + " status --data " + data, "how it is"},
		{"curl -d mode=ok " + s.origin + "/_shop/behave", "heal the origin"},
	} {
		fmt.Fprintf(&b, "    %s\n        %s\n", h[0], s.u.dim(h[1]))
	}
	return b.String()
}

// self is how this program can be called again from a shell.
func self() string {
	if _, err := exec.LookPath("selvage"); err == nil {
		return "selvage"
	}
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/selvage"
	}
	return os.Args[0]
}

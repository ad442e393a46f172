package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/examples/shop"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
)

// What the traffic is: enough clients at once that a change can be judged while
// one looks, and a few percent of a core.
const (
	tryUsers     = 80 // shoppers at each node
	tryPause     = 2 * time.Second
	tryAddresses = 50_000
	tryMemory    = 64 << 20 // bytes of stored answers on each node
)

// tryPlaces are the nodes. The first has the control API.
var tryPlaces = []struct {
	pop  selvage.POP
	zone selvage.Zone
}{{"ams", "eu"}, {"fra", "eu"}, {"iad", "us"}}

func tryCommand() *cobra.Command {
	f := tryFlags{listen: "127.0.0.1:8080", admin: "127.0.0.1:9440", origin: shop.Endpoint}
	cmd := &cobra.Command{
		Use: "try", Short: "Three nodes, a toy shop and a little traffic, all in here", Args: noArgs,
		Long: `Start a toy shop as the origin, three nodes in three places in front of it and a
little traffic, all in one process and a temporary folder. The other commands
find it from a second terminal. A change may kill that process: it is started
again, on what ran before. Ctrl-C ends everything and leaves nothing behind.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.folder == "" {
				return sayProblems(cmd, keepTry(cmd.Context(), cmd.ErrOrStderr(), f))
			}
			return sayProblems(cmd, try(cmd.Context(), cmd.ErrOrStderr(), newUI(os.Stderr), f))
		},
	}
	cmd.Flags().Var(word{&f.listen, "address"}, "listen", "where the shop is, through the first node")
	cmd.Flags().Var(word{&f.admin, "address"}, "admin", "where operators come in, or off")
	cmd.Flags().Var(word{&f.origin, "address"}, "origin", "where the shop itself is; the examples look for it there")
	cmd.Flags().BoolVar(&f.quiet, "quiet", false, "no traffic of our own")
	cmd.Flags().StringVar(&f.folder, "folder", "", "of the process that is the edge")
	cmd.Flags().IntVar(&f.start, "start", 1, "how often it was started")
	_ = cmd.Flags().MarkHidden("folder") // there is one of this name
	_ = cmd.Flags().MarkHidden("start")
	return cmd
}

type tryFlags struct {
	listen, admin, origin string
	quiet                 bool
	folder                string // empty: this process keeps the one that is the edge
	start                 int
}

// try is the edge, its shop and its traffic, in a process that may be killed.
func try(ctx context.Context, w io.Writer, u ui, f tryFlags) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop() // whoever keeps us is gone
	}()
	list, err := trySockets(f.sockets())
	if err != nil {
		return err
	}
	others, errFound := client.Find(dataFolders()...)
	origin, err := startShop(ctx, f, list[len(tryPlaces)])
	if err != nil {
		return err
	}
	defer origin.stop()
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
	t, err := newTryFleet(ctx, origin.url, f, list, log)
	if err != nil {
		return err
	}
	screen := tryScreen{w: w, u: u, fleet: t, origin: origin}
	if errFound == nil && others != nil {
		screen.data = t.conf.Node.Data // another node would be found before this one
	}
	if f.start == 1 {
		screen.greet()
	}
	context.AfterFunc(ctx, func() { fmt.Fprintln(w, "\n  Ending.") })
	return t.run(ctx, !f.quiet)
}

// sockets is how many there are: the nodes', the shop's, the operators'.
func (f tryFlags) sockets() int {
	if f.admin == "off" {
		return len(tryPlaces) + 1
	}
	return len(tryPlaces) + 2
}

// tryFleet is three nodes over one store, the first of them a whole edge.
type tryFleet struct {
	*edge
	conf   selvage.Config // of the first
	others []*satellite
	took   []time.Duration // that each took to start
}

// satellite is a node without a control API: what leads it is elsewhere.
type satellite struct {
	node  *node.Node
	agent *rollout.Agent
}

func newTryFleet(ctx context.Context, originURL string, f tryFlags, list []net.Listener, log *slog.Logger) (*tryFleet, error) {
	t := new(tryFleet)
	for i := range tryPlaces {
		began := time.Now()
		opened := list[i : i+1]
		if i == 0 {
			opened = append([]net.Listener{list[0]}, list[len(tryPlaces)+1:]...)
		}
		conf, err := tryConfig(f, originURL, i, opened)
		if err != nil {
			t.close()
			return nil, err
		}
		if i == 0 {
			t.conf = conf
			if t.edge, err = openEdge(ctx, conf, log, newSockets(opened), edgeParts{}); err != nil {
				return nil, err
			}
		} else if err := t.add(conf, newSockets(opened), log); err != nil {
			t.close()
			return nil, err
		}
		t.took = append(t.took, time.Since(began))
	}
	return t, nil
}

// add adds a node to the store of the first.
func (t *tryFleet) add(conf selvage.Config, opened sockets, log *slog.Logger) error {
	store := t.store.Store()
	n, err := node.New(node.Options{Config: conf, Version: versionString(), Log: log, State: &store, Opened: opened})
	if err != nil {
		return err
	}
	t.control.Others = append(t.control.Others, n)
	t.others = append(t.others, &satellite{n, n.Agent(node.RolloutFolder(conf.Node.Data), t.guard.coordinator)})
	return nil
}

func (t *tryFleet) close() {
	if t.edge != nil {
		t.edge.close()
	}
}

// run serves until ctx ends, or one of the nodes does.
func (t *tryFleet) run(ctx context.Context, traffic bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var running sync.WaitGroup
	errs := make([]error, len(t.others))
	for i, s := range t.others {
		running.Go(func() {
			defer stop()
			errs[i] = s.run(ctx)
		})
	}
	shopping, stopShopping := context.WithCancel(ctx)
	var shoppers sync.WaitGroup
	for _, base := range t.bases() {
		if traffic {
			shoppers.Go(func() {
				(&shop.Shoppers{Base: base, People: tryUsers, Pause: tryPause, Addresses: tryAddresses}).Run(shopping)
			})
		}
	}
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	go func() { // ends with ctx, which this function ends
		<-ctx.Done()
		running.Wait() // they take themselves out of the store, which the first closes
		end()
	}()
	err := t.edge.run(last, nil, nil)
	stopShopping()
	stop()
	shoppers.Wait()
	running.Wait()
	return errors.Join(append(errs, err)...)
}

// bases are the URLs of the nodes.
func (t *tryFleet) bases() []string {
	out := []string{"http://" + t.node.Addrs()[0].String()}
	for _, s := range t.others {
		out = append(out, "http://"+s.node.Addrs()[0].String())
	}
	return out
}

// run serves until ctx ends; the agent until the node has drained.
func (s *satellite) run(ctx context.Context) error {
	leading, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- s.agent.Run(leading) }() // waited for below
	err := s.node.Run(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// tryConfig is the shop's own service file in front of the shop that was
// started, on one of the nodes.
func tryConfig(f tryFlags, originURL string, place int, opened []net.Listener) (selvage.Config, error) {
	file, err := shop.WriteService(f.folder, originURL)
	if err != nil {
		return selvage.Config{}, err
	}
	l, err := config.Load("", []string{file})
	if err != nil {
		return selvage.Config{}, err
	}
	conf := l.Config
	n := &conf.Node
	at := tryPlaces[place]
	n.Name, n.POP, n.Zone = selvage.NodeName(at.pop+"-1"), at.pop, at.zone
	n.Listen = []selvage.Listener{{Address: opened[0].Addr().String()}}
	n.Admin.Address = "off"
	if len(opened) > 1 {
		n.Admin.Address = opened[1].Addr().String()
	}
	n.Cache.Memory = tryMemory
	n.TrustedProxies = []selvage.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")}}
	n.Data = filepath.Join(f.folder, string(n.Name))
	n.AccessLog = filepath.Join(f.folder, string(n.Name)+".log")
	n.Deadlines.Drain = selvage.Duration(2 * time.Second)
	if err := os.MkdirAll(n.Data, 0o700); err != nil {
		return selvage.Config{}, err
	}
	return conf, checkFlags(n, true, true)
}

// tryPrefix begins the name of the folder of every try.
const tryPrefix = "selvage-try-"

// tryFolders are the data folders of those that run for this user, the newest first.
func tryFolders() []string {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), tryPrefix+"*")) // the pattern is right
	made := make(map[string]time.Time)
	for _, folder := range found {
		info, err := os.Lstat(folder)
		if err != nil || !info.IsDir() {
			continue
		}
		if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) == os.Getuid() {
			made[folder] = info.ModTime()
		}
	}
	found = slices.DeleteFunc(found, func(f string) bool { return made[f].IsZero() })
	slices.SortFunc(found, func(a, b string) int { return made[b].Compare(made[a]) })
	for i, f := range found {
		found[i] = filepath.Join(f, string(tryPlaces[0].pop+"-1"))
	}
	return found
}

type shopServer struct {
	url   string
	stop  func()
	moved bool // it is not where it was to be
}

// startShop serves the shop. It has moved where another program has its address.
func startShop(ctx context.Context, f tryFlags, l net.Listener) (*shopServer, error) {
	s, err := shop.New(shop.Options{Data: f.folder})
	if err != nil {
		return nil, err
	}
	_, wanted, _ := net.SplitHostPort(f.origin) // it was listened on
	_, got, _ := net.SplitHostPort(l.Addr().String())
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
	}, wanted != "0" && wanted != got}, nil
}

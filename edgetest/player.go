package edgetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Setup is what an edge is started with: the files of a scenario and the
// network it stands in.
type Setup struct {
	Node     string   // the path of the node file
	Services []string // the paths of the service files, never none
	Listen   func(network, addr string) (net.Listener, error)
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	Resolve  func(ctx context.Context, host string) ([]netip.Addr, error)
	Log      *slog.Logger
}

// Edge is an edge that a scenario is played against.
type Edge interface {
	// Run serves until ctx ends, then drains and ends what it started.
	Run(ctx context.Context) error
	// Reload reads the files again. With an error nothing has changed.
	Reload(node string, services []string) error
	// Metrics answers with the exposition of its metrics.
	Metrics() http.Handler
	// Purge purges what is named as on the command line, and waits for the receipts.
	Purge(ctx context.Context, what []string, soft bool) error
}

// PlayAll plays every scenario of a folder, each as a subtest of its name.
func PlayAll(t *testing.T, folder string, start func(Setup) (Edge, error)) {
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in %s: %v", folder, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			Play(t, file, start)
		})
	}
}

// Play plays one scenario in a bubble of its own. The first expectation that
// does not hold ends it.
func Play(t *testing.T, file string, start func(Setup) (Edge, error)) {
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	ops, err := parseScenario(file, string(source))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	defer watch(file).Stop()
	synctest.Test(t, func(t *testing.T) {
		p := newPlayer(t, dir, start)
		err := p.play(ops)
		err = errors.Join(err, p.end())
		if err != nil {
			t.Errorf("%v\nthe edge's own log:\n%s", err, p.log.String())
		}
	})
}

// standstill is how much real time a scenario may take; most take milliseconds.
const standstill = 2 * time.Minute

// watch ends the process with all stacks if the scenario stands still: somebody
// waits for a lock whose holder waits, which stops virtual time.
func watch(file string) *time.Timer {
	return time.AfterFunc(standstill, func() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		panic(fmt.Sprintf("%s stands still: a lock is held while its holder waits\n%s", file, stacks))
	})
}

// player is a scenario that is being played.
type player struct {
	t        *testing.T
	dir      string
	start    func(Setup) (Edge, error)
	network  *Network
	origins  map[string]*Origin
	order    []string // of origins
	services []string // the files' texts
	changes  int      // how many revisions were deployed
	node     string
	ca       *authority
	log      buffer

	edge    Edge
	setup   Setup
	stop    context.CancelFunc // ends the edge
	running context.Context    // of origins
	halt    context.CancelFunc
	wg      sync.WaitGroup
	done    chan error // what Run returned
	over    bool       // Run has returned
	ended   bool       // it was told to

	from      netip.Addr
	protocol  string
	clients   map[string]client // by protocol and from
	all       []client
	exchanges map[string]*exchange
	last      *exchange
}

// buffer is a log that goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // mu
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newPlayer(t *testing.T, dir string, start func(Setup) (Edge, error)) *player {
	p := &player{
		t: t, dir: dir, start: start, network: new(Network), origins: make(map[string]*Origin),
		from: netip.MustParseAddr("198.51.100.1"), protocol: "http/1.1",
		clients: make(map[string]client), exchanges: make(map[string]*exchange),
		done: make(chan error, 1),
	}
	p.running, p.halt = context.WithCancel(context.Background())
	return p
}

func (p *player) play(ops []op) error {
	for _, o := range ops {
		if err := o.do(p); err != nil {
			return o.errorf("%s\n\t%w", o.line, err)
		}
		synctest.Wait()
		if err := p.crashed(); err != nil {
			return o.errorf("%s\n\t%w", o.line, err)
		}
	}
	return nil
}

// crashed says whether the edge has ended without being told to.
func (p *player) crashed() error {
	if p.over {
		return nil
	}
	select {
	case err := <-p.done:
		p.over = true
		if !p.ended {
			return fmt.Errorf("the edge ended by itself: %w", err)
		}
		if err != nil {
			return fmt.Errorf("the edge ended with an error: %w", err)
		}
	default:
	}
	return nil
}

// end ends all that was started and reports what no statement asks for.
func (p *player) end() error {
	var errs []error
	for _, c := range p.all {
		errs = append(errs, c.close())
	}
	if p.stop != nil {
		p.stop()
	}
	if p.edge != nil && !p.over {
		if err := <-p.done; err != nil {
			errs = append(errs, fmt.Errorf("the edge ended with an error: %w", err))
		}
	}
	p.halt()
	p.wg.Wait()
	for _, name := range p.order {
		for _, problem := range p.origins[name].Problems() {
			errs = append(errs, fmt.Errorf("origin %s got %s", name, problem))
		}
	}
	if log := p.log.String(); strings.Contains(log, "panic") {
		errs = append(errs, errors.New("the edge logged a panic"))
	}
	return errors.Join(errs...)
}

func (p *player) addService(yaml string) error {
	p.services = append(p.services, yaml)
	if p.edge != nil {
		return errors.New("the edge runs already: write reload")
	}
	return nil
}

func (p *player) setNode(yaml string) error {
	if p.edge != nil {
		return errors.New("the edge runs already: node stands before the first request")
	}
	p.node = yaml
	return nil
}

func (p *player) writeFile(name, content string) error {
	full := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, []byte(content), 0o644)
}

func (p *player) addOrigin(name string, opt originOptions) error {
	if p.origins[name] != nil {
		return fmt.Errorf("there is an origin %s already", name)
	}
	addr := netip.AddrFrom4([4]byte{10, 0, 0, byte(len(p.order) + 1)})
	o := &Origin{Name: name, Network: p.network, Address: netip.AddrPortFrom(addr, opt.port), H2: opt.h2}
	if opt.tls {
		if err := p.secure(o); err != nil {
			return err
		}
	}
	if err := o.Listen(); err != nil {
		return err
	}
	p.network.SetHost(name, addr)
	p.origins[name] = o
	p.order = append(p.order, name)
	p.wg.Go(func() {
		if err := o.Run(p.running); err != nil {
			o.problem("an error of its listener: %v", err)
		}
	})
	return nil
}

// secure gives an origin a certificate of the scenario's own authority, whose
// certificate is the file ca.pem beside the service file.
func (p *player) secure(o *Origin) error {
	if p.ca == nil {
		ca, err := newAuthority()
		if err != nil {
			return err
		}
		if err := p.writeFile("ca.pem", string(ca.pem)); err != nil {
			return err
		}
		p.ca = ca
	}
	var err error
	o.TLS, err = p.ca.config(o.Name)
	return err
}

func (p *player) withOrigin(name string, f func(*Origin) error) error {
	o := p.origins[name]
	if o == nil {
		return unknown("origin of this scenario", name, p.order)
	}
	return f(o)
}

func (p *player) setDNS(name string, words []string) error {
	switch words[0] {
	case "fails":
		p.network.FailHost(name)
		return nil
	case "hangs":
		p.network.HangHost(name)
		return nil
	case "unknown":
		p.network.SetHost(name)
		return nil
	}
	var addrs []netip.Addr
	for _, w := range words {
		if err := p.withOrigin(w, func(o *Origin) error {
			addrs = append(addrs, o.Address.Addr())
			return nil
		}); err != nil {
			return err
		}
	}
	p.network.SetHost(name, addrs...)
	return nil
}

var topLevel = regexp.MustCompile(`(?m)^([a-z_]+):`)

// defaultNode completes a node file: names in it are kept.
func (p *player) nodeFile() string {
	has := make(map[string]bool)
	for _, m := range topLevel.FindAllStringSubmatch(p.node, -1) {
		has[m[1]] = true
	}
	var file strings.Builder
	file.WriteString(p.node)
	for _, d := range [][2]string{
		{"name", "edge-1"},
		{"listen", `[{address: ":80"}]`},
		{"data", filepath.Join(p.dir, "data")},
		{"access_log", filepath.Join(p.dir, "access.log")},
	} {
		if !has[d[0]] {
			file.WriteString(d[0] + ": " + d[1] + "\n")
		}
	}
	return file.String()
}

// defaultService is the one that a scenario without a service block has: all
// requests go to the first origin, and answers are stored for a minute.
func (p *player) defaultService() string {
	return fmt.Sprintf(`service: test
hosts: [shop.example]
origins:
  %[1]s: {endpoints: [http://%[1]s]}
routes:
  - match: {path: /*}
    origin: %[1]s
    cache: {ttl: 60s}
`, p.order[0])
}

// ready starts the edge, if it does not yet run.
func (p *player) ready() error {
	if p.edge != nil {
		return nil
	}
	if len(p.services) == 0 {
		if len(p.order) == 0 {
			return errors.New("there is neither a service nor an origin")
		}
		p.services = []string{p.defaultService()}
	}
	paths, err := p.writeServices(p.services)
	if err != nil {
		return err
	}
	if err := p.writeFile("node.yaml", p.nodeFile()); err != nil {
		return err
	}
	p.setup = Setup{
		Node: filepath.Join(p.dir, "node.yaml"), Services: paths,
		Listen: p.network.Listen, Dial: p.network.Dial, Resolve: p.network.Resolve,
		Log: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if p.edge, err = p.start(p.setup); err != nil {
		return fmt.Errorf("start the edge: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	go func() { p.done <- p.edge.Run(ctx) }() // received by crashed or end
	synctest.Wait()
	return p.crashed()
}

func (p *player) writeServices(texts []string) ([]string, error) {
	var paths []string
	for i, text := range texts {
		name := "service.yaml"
		if i > 0 {
			name = fmt.Sprintf("service-%d.yaml", i+1)
		}
		if err := p.writeFile(name, text); err != nil {
			return nil, err
		}
		paths = append(paths, filepath.Join(p.dir, name))
	}
	return paths, nil
}

// reload replaces the service of the same name, or the only one, and tells
// the edge. Refused, the old file is put back.
func (p *player) reload(yaml string, refused bool, why string) error {
	if err := p.ready(); err != nil {
		return err
	}
	texts := append([]string(nil), p.services...)
	if yaml != "" {
		at := 0
		for i, old := range texts {
			if serviceName(old) == serviceName(yaml) {
				at = i
			}
		}
		texts[at] = yaml
	}
	paths, err := p.writeServices(texts)
	if err != nil {
		return err
	}
	err = p.edge.Reload(p.setup.Node, paths)
	synctest.Wait()
	switch {
	case refused && err == nil:
		return errors.New("got a reload that was accepted, want it refused")
	case refused && !strings.Contains(err.Error(), why):
		return fmt.Errorf("got  %w\n\twant it refused because of %q", err, why)
	case refused:
		_, err = p.writeServices(p.services)
		return err
	case err != nil:
		return fmt.Errorf("got a reload that was refused: %w", err)
	}
	p.services = texts
	return nil
}

var serviceLine = regexp.MustCompile(`(?m)^service: *(\S+)`)

func serviceName(yaml string) string {
	if m := serviceLine.FindStringSubmatch(yaml); m != nil {
		return m[1]
	}
	return ""
}

func (p *player) wait(d time.Duration) error {
	if err := p.ready(); err != nil {
		return err
	}
	time.Sleep(d)
	synctest.Wait()
	return nil
}

func (p *player) purge(what []string, soft bool) error {
	if err := p.ready(); err != nil {
		return err
	}
	return p.edge.Purge(p.running, what, soft)
}

func (p *player) drain() error {
	if err := p.ready(); err != nil {
		return err
	}
	p.ended = true
	p.stop()
	return nil
}

// connect is a connection to the edge from the scenario's present address.
func (p *player) connect(ctx context.Context, from netip.Addr, secure bool) (*Conn, error) {
	addr := "203.0.113.1:80"
	if secure {
		addr = "203.0.113.1:443"
	}
	c, err := p.network.DialFrom(ctx, from, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect to the edge: %w", err)
	}
	return c.(*Conn), nil
}

// client is a connection for the next request: a new one where fresh is set
// or the last one cannot be used any more.
func (p *player) client(fresh bool) (client, error) {
	if err := p.ready(); err != nil {
		return nil, err
	}
	synctest.Wait()
	key := p.protocol + " from " + p.from.String()
	if c := p.clients[key]; c != nil && c.ready() && !fresh {
		return c, nil
	}
	var c client
	from, over := p.from, p.protocol
	switch over {
	case "h2", "h2c":
		c = newClient2(func(ctx context.Context) (*Conn, error) { return p.connect(ctx, from, over == "h2") }, over == "h2")
	default:
		conn, err := p.connect(context.Background(), from, over == "tls")
		if err != nil {
			return nil, err
		}
		c = newClient1(conn, over)
	}
	p.all = append(p.all, c)
	if !fresh {
		p.clients[key] = c
	}
	return c, nil
}

// ask sends a request. A named one has a connection of its own.
func (p *player) ask(r *request, name, line string) error {
	c, err := p.client(name != "")
	if err != nil {
		return err
	}
	x := newExchange(r.method, line)
	x.client = c
	sent := *r
	sent.host = "shop.example"
	p.last = x
	if name != "" {
		p.exchanges[name] = x
	}
	c.start(x, &sent)
	return nil
}

// sendRaw writes bytes on the connection. They are a new request unless the
// last one has no answer yet.
func (p *player) sendRaw(s string) error {
	c, err := p.rawClient()
	if err != nil {
		return err
	}
	method, _, _ := strings.Cut(s, " ")
	if p.last == nil || p.last.client != client(c) || p.last.settled() {
		x := newExchange(method, "send")
		x.client = c
		p.last = x
		c.expectAnswer(x)
	}
	c.sendRaw(s)
	return nil
}

func (p *player) rawClient() (*client1, error) {
	if p.protocol == "h2" || p.protocol == "h2c" {
		return nil, errors.New("send speaks HTTP/1.1: write over http/1.1 before it")
	}
	if err := p.ready(); err != nil {
		return nil, err
	}
	// One whose request is under way takes more of it.
	if c, ok := p.clients[p.protocol+" from "+p.from.String()].(*client1); ok && !c.gone() && !c.said() {
		return c, nil
	}
	c, err := p.client(false)
	if err != nil {
		return nil, err
	}
	return c.(*client1), nil
}

func (p *player) tunnelSend(s string) error {
	if p.last == nil {
		return errors.New("there is no upgraded connection")
	}
	c, ok := p.last.client.(*client1)
	if !ok {
		return errors.New("ws is of HTTP/1.1")
	}
	_, err := io.WriteString(c.c, s)
	return err
}

func (p *player) exchange(name string) (*exchange, error) {
	if name == "" {
		if p.last == nil {
			return nil, errors.New("there is no request yet")
		}
		return p.last, nil
	}
	x := p.exchanges[name]
	if x == nil {
		return nil, fmt.Errorf("no request is named %q: write get /path as %s", name, name)
	}
	return x, nil
}

func (p *player) closeExchange(name string) error {
	x, err := p.exchange(name)
	if err != nil {
		return err
	}
	x.client.abandon(x)
	return nil
}

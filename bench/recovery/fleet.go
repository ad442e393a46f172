package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/examples/shop"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/state"
)

// places are where the nodes are, as those of selvage try.
var places = []struct {
	pop  selvage.POP
	zone selvage.Zone
}{{"ams", "eu"}, {"fra", "eu"}, {"iad", "us"}}

// fleet is three nodes over one store, their shop, and who leads changes.
type fleet struct {
	folder  string
	store   state.Store
	changes *node.Changes
	nodes   []*node.Node
	witness *witness
	rate    int                                    // that is let in
	trace   bool                                   // say every second how it stands
	start   func(what func(context.Context) error) // runs it until the end
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	errs    []error // guarded by mu
}

func newFleet(ctx context.Context, folder string) (*fleet, error) {
	w, err := newWitness(ctx, folder)
	if err != nil {
		return nil, err
	}
	f := &fleet{folder: folder, store: state.Memory(state.EdgeLimits(nil)), witness: w}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.start, f.stop = func(what func(context.Context) error) { f.run(running, what) }, stop
	lead := rollout.NewCoordinator(rollout.CoordinatorOptions{Store: f.store, Tenant: selvage.DefaultTenant, Holder: "bench"})
	f.changes = &node.Changes{
		Rollouts: rollout.NewChanges(f.store, selvage.DefaultTenant, lead), Store: f.store, Tenant: selvage.DefaultTenant,
	}
	f.start(lead.Run)
	var file *config.Loaded
	for i := range places {
		if file, err = f.add(i, lead); err != nil {
			f.end()
			return nil, err
		}
	}
	first := file.Services[0]
	return f, f.changes.Local(ctx, first, file.Outside[first.Service], "bench", "start")
}

// add starts a node.
func (f *fleet) add(place int, lead *rollout.Coordinator) (*config.Loaded, error) {
	file, err := shop.WriteService(f.folder, f.witness.url)
	if err != nil {
		return nil, err
	}
	l, err := config.Load("", []string{file})
	if err != nil {
		return nil, err
	}
	conf := &l.Node
	conf.POP, conf.Zone = places[place].pop, places[place].zone
	conf.Name = selvage.NodeName(conf.POP + "-1")
	conf.Listen = []selvage.Listener{{Address: "127.0.0.1:0"}}
	conf.Admin.Address, conf.AccessLog, conf.FunctionLog = "off", "off", "off"
	conf.Cache.Memory = 64 << 20
	conf.TrustedProxies = []selvage.Prefix{{Prefix: netip.MustParsePrefix("127.0.0.0/8")}}
	conf.Data = filepath.Join(f.folder, string(conf.Name))
	conf.Deadlines.Drain = selvage.Duration(time.Second)
	if err := os.MkdirAll(conf.Data, 0o700); err != nil {
		return nil, err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	n, err := node.New(node.Options{Config: l.Config, Version: "bench", State: &f.store, Log: log})
	if err != nil {
		return nil, err
	}
	f.nodes = append(f.nodes, n)
	f.start(n.Run)
	f.start(n.Agent(node.RolloutFolder(conf.Data), lead).Run)
	return l, nil
}

func (f *fleet) run(ctx context.Context, what func(context.Context) error) {
	f.running.Go(func() {
		if err := what(ctx); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.errs = append(f.errs, err)
		}
	})
}

// end ends all of it.
func (f *fleet) end() {
	f.stop()
	f.running.Wait()
	f.witness.close()
}

// failed is what ended that should not have.
func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}

// think is the mean time between two requests of a shopper, who has one address
// for a visit of some twenty requests. As with selvage try.
const think = 2 * time.Second

// load lets people in, through all nodes alike, so many requests a second.
func (f *fleet) load(rate int) {
	f.rate = rate
	for i, n := range f.nodes {
		pause, people := think, (rate*int(think/time.Second)+i)/len(f.nodes)
		if people < 1 {
			people, pause = 1, time.Duration(len(f.nodes))*time.Second/time.Duration(rate)
		}
		base := "http://" + n.Addrs()[0].String()
		f.start(func(ctx context.Context) error {
			(&shop.Shoppers{Base: base, People: people, Pause: pause, Addresses: 1 << 17, Seen: f.witness.seen}).Run(ctx)
			return nil
		})
	}
}

// deploy asks for a change to an example, which then asks the witness's shop.
func (f *fleet) deploy(ctx context.Context, example string) (client.Change, error) {
	folder := filepath.Join(f.folder, "change")
	if err := f.copyExample(ctx, example, folder); err != nil {
		return client.Change{}, err
	}
	b, err := config.Pack(filepath.Join(folder, "change", "shop.yaml"))
	if err != nil {
		return client.Change{}, err
	}
	for _, blob := range b.Blobs {
		r, err := blob.Open()
		if err != nil {
			return client.Change{}, err
		}
		err = f.store.Blobs.Put(ctx, f.blob(state.Digest(blob.Digest)), r)
		r.Close()
		if err != nil {
			return client.Change{}, err
		}
	}
	digest := state.Digest(b.Manifest.Digest)
	if err := f.store.Blobs.Put(ctx, f.blob(digest), bytes.NewReader(b.Data)); err != nil {
		return client.Change{}, err
	}
	return f.changes.Submit(ctx, client.Submission{Service: string(b.Manifest.Service.Service), Manifest: digest.String()}, "bench")
}

// copyExample copies it for the witness's shop, and builds what has to be built.
func (f *fleet) copyExample(ctx context.Context, example, folder string) error {
	if err := copyExample(example, folder, f.witness.url); err != nil {
		return err
	}
	if filepath.Base(filepath.Dir(example)) != trapper {
		return nil
	}
	return buildTrap(ctx, filepath.Dir(example), filepath.Join(folder, "change", "cart.wasm"))
}

// local makes a file what runs, unjudged.
func (f *fleet) local(ctx context.Context, file string) error {
	l, err := config.Load("", []string{file})
	if err != nil {
		return err
	}
	s := l.Services[0]
	return f.changes.Local(ctx, s, l.Outside[s.Service], "bench", "start")
}

// buildTrap builds the function of the example that has one.
func buildTrap(ctx context.Context, folder, out string) error {
	from := filepath.Join(folder, "cart")
	if !filepath.IsAbs(from) {
		from = "." + string(filepath.Separator) + from
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", out, from)
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("build the function: %w: %s", err, text)
	}
	return nil
}

func (f *fleet) blob(d state.Digest) state.BlobKey {
	return state.BlobKey{Tenant: selvage.DefaultTenant, Digest: d}
}

// copyExample copies a service file and the page that it names, for a shop at a URL.
func copyExample(file, folder, url string) error {
	for from, to := range map[string]string{
		file: "change/shop.yaml", filepath.Join(filepath.Dir(file), "..", "shop", "sorry.html"): "shop/sorry.html",
	} {
		data, err := os.ReadFile(from)
		if err != nil {
			return fmt.Errorf("%w: name the folder of the examples with -examples", err)
		}
		to = filepath.Join(folder, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		text := strings.ReplaceAll(string(data), "http://"+shop.Endpoint, url)
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/control"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/state"
)

// heldAt is the share at which judging is measured.
const heldAt = 0.5

// turned is the argument with which this program is a node that is in a rollout or in
// none, as it is told: two processes differ by some percent in where their memory
// lies, and this one only in what it does. What leads the rollout runs all the time.
const turned = "turned"

// turns lets a node serve what an agent says, or as if there were no agent. It is the
// agent's runtime.
type turns struct {
	*node.Node

	mu      sync.Mutex // guards what follows
	service selvage.ServiceName
	arms    rollout.Arms
	watch   *rollout.Watch
}

// Serve implements [rollout.Runtime].
func (t *turns) Serve(service selvage.ServiceName, a rollout.Arms, w *rollout.Watch) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.service, t.arms, t.watch = service, a, w
	return t.Node.Serve(service, a, w)
}

// ServeHTTP lets makings be judged or not from now on.
func (t *turns) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	arms, watch := t.arms, t.watch
	if arms.Share != heldAt {
		http.Error(w, "the rollout is not held yet", http.StatusServiceUnavailable)
		return
	}
	if r.URL.Path == "/nobody" {
		arms, watch = rollout.Arms{Baseline: arms.Baseline}, nil
	}
	if err := t.Node.Serve(t.service, arms, watch); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// serveTurned serves, and is turned at an address.
func serveTurned(ctx context.Context, address, nodeFile, old, next string) error {
	l, err := config.Load(nodeFile, []string{old})
	if err != nil {
		return err
	}
	store := state.Memory(state.EdgeLimits(nil))
	n, err := node.New(node.Options{Config: l.Config, State: &store})
	if err != nil {
		return err
	}
	t := &turns{Node: n}
	lead := rollout.NewCoordinator(rollout.CoordinatorOptions{Store: store, Tenant: selvage.DefaultTenant, Holder: "bench"})
	changes := &node.Changes{Rollouts: rollout.NewChanges(store, selvage.DefaultTenant, lead), Store: store, Tenant: selvage.DefaultTenant}
	if err := os.MkdirAll(l.Node.Data, 0o700); err != nil {
		return err
	}
	agent := rollout.NewAgent(rollout.AgentOptions{
		Node: l.Node.Name, POP: l.Node.POP, Zone: l.Node.Zone, Tenant: selvage.DefaultTenant, Store: store, Runtime: t, Reports: lead,
		Folder: node.RolloutFolder(l.Node.Data),
		Unpack: func(manifest []byte, open func(state.Digest) (io.ReadCloser, error), folder string) (selvage.Service, error) {
			return config.Unpack(manifest, config.Unpacking{
				Open: func(d config.Digest) (io.ReadCloser, error) { return open(d) }, Folder: folder,
			})
		},
	})
	failed := make(chan error, 5)
	held := func(ctx context.Context) error { return hold(ctx, changes, old, next) }
	told := func(context.Context) error { return http.ListenAndServe(address, t) }
	for _, run := range []func(context.Context) error{n.Run, lead.Run, agent.Run, held, told} {
		go func() { // the process ends with the first that fails
			if err := run(ctx); err != nil {
				failed <- err
			}
		}()
	}
	return <-failed
}

// hold deploys a revision and then the next one, and holds its rollout at one half.
func hold(ctx context.Context, c *node.Changes, files ...string) error {
	for _, file := range files {
		b, err := config.Pack(file)
		if err != nil {
			return err
		}
		if err := c.Store.Blobs.Put(ctx, state.BlobKey{Tenant: c.Tenant, Digest: state.DigestOf(b.Data)}, bytes.NewReader(b.Data)); err != nil {
			return err
		}
		change, err := c.Submit(ctx, client.Submission{Service: string(b.Manifest.Service.Service), Manifest: state.DigestOf(b.Data).String()}, "bench")
		if err != nil {
			return err
		}
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			now, err := c.Status(ctx, "", change.ID)
			if err != nil {
				return err
			}
			if now.Share == heldAt {
				return c.Ask(ctx, control.Asking{What: "hold", Change: change.ID, Who: "bench"})
			}
			if now.Change.State == client.Promoted {
				break
			}
			if time.Since(began) > time.Minute {
				return fmt.Errorf("%s is %s at %.2f after a minute", filepath.Base(file), now.Change.State, now.Share)
			}
		}
	}
	return fmt.Errorf("%s was promoted before it was held", files[len(files)-1])
}

// turn tells a server how it is to serve.
func (s *server) turn(ctx context.Context) error {
	if s.turned == "" {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.turned, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("turn: %s", resp.Status)
	}
	return nil
}

package rollout

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// What a process that is going to be killed is told: its folder first.
const (
	childFolder  = "SELVAGE_TEST_ROLLOUT_FOLDER"
	childBlocked = "SELVAGE_TEST_ROLLOUT_BLOCKED" // the phase that it stays in
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		if err := child(folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// edge is one process with a durable store, a coordinator and a node.
type edge struct {
	store   state.Store
	changes *Changes
	node    *simNode
	stop    func()
}

func newEdge(folder string, blocked phase) (*edge, error) {
	embedded, err := state.Open(state.Options{Folder: filepath.Join(folder, "state"), Limits: state.EdgeLimits(nil)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = embedded.Run(context.Background()) })
	e := &edge{store: embedded.Store(), node: &simNode{name: "n-1", pop: "ams", blocked: blocked}}
	lead := NewCoordinator(CoordinatorOptions{Store: e.store, Tenant: "main", Holder: "n-1"})
	e.changes = NewChanges(e.store, "main", lead)
	a := NewAgent(AgentOptions{
		Node: "n-1", POP: "ams", Tenant: "main", Folder: filepath.Join(folder, "agent"), Store: e.store,
		Runtime: e.node, Unpack: unpackNothing, Reports: lead,
	})
	running.Go(func() { _ = lead.Run(ctx) })
	running.Go(func() { _ = a.Run(ctx) })
	e.stop = sync.OnceFunc(func() {
		cancel()
		_ = embedded.Close()
		running.Wait()
	})
	return e, nil
}

func (e *edge) submit(text string) (selvage.Change, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	digest := state.DigestOf([]byte(text))
	if err := e.store.Blobs.Put(ctx, state.BlobKey{Tenant: "main", Digest: digest}, strings.NewReader(text)); err != nil {
		return selvage.Change{}, err
	}
	return e.changes.Submit(ctx, Submission{Service: "shop", Manifest: digest, Who: "mira"})
}

// child deploys and says what was acknowledged, and at which phase it is, until it is killed.
func child(folder string) error {
	e, err := newEdge(folder, phase(os.Getenv(childBlocked)))
	if err != nil {
		return err
	}
	for i := range 2 {
		c, err := e.submit(fmt.Sprint("revision ", i))
		if err != nil {
			return err
		}
		fmt.Println("acknowledged", c.ID)
		for last := phase(""); ; time.Sleep(10 * time.Millisecond) {
			d, _, err := e.changes.document(context.Background(), "shop")
			if err != nil {
				return err
			}
			if d.Rollout == nil {
				continue
			}
			if arms, _ := e.node.serves(); arms.Share > 0 {
				fmt.Println("phase canary")
			}
			if p := d.Rollout.Phase; p != last {
				last = p
				fmt.Println("phase", p)
			}
			if d.Rollout.Phase == watched {
				break
			}
		}
	}
	return errors.New("nobody killed it")
}

func TestAProcessThatIsKilledLosesNoChange(t *testing.T) {
	for _, at := range []string{"acknowledged c-1", "phase preparing", "phase watched", "phase replaying", "phase spreading", "phase canary"} {
		t.Run(at, func(t *testing.T) {
			folder := t.TempDir()
			acknowledged := killAt(t, folder, at)
			e, err := newEdge(folder, "")
			if err != nil {
				t.Fatal(err)
			}
			defer e.stop()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			last := acknowledged[len(acknowledged)-1]
			for { // the second one has no traffic to be judged by, unless it crashed
				r, err := e.changes.Status(ctx, Request{Change: last})
				if err != nil {
					t.Fatal(err)
				}
				if client.Over(r.Change.State) {
					break
				}
				if r.Change.State == client.Watching && at != "phase canary" {
					if err := e.changes.Undo(ctx, Request{Change: last, Who: "mira"}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(20 * time.Millisecond)
			}
			e.check(ctx, t, acknowledged, at)
		})
	}
}

// killAt runs a child until it says something, and kills it.
func killAt(t *testing.T, folder, at string) (acknowledged []selvage.ChangeID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childFolder+"="+folder, childBlocked+"="+strings.TrimPrefix(at, "phase "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
			acknowledged = append(acknowledged, selvage.ChangeID(id))
		}
		if lines.Text() == at {
			reached = true
			_ = cmd.Process.Kill()
		}
	}
	_ = cmd.Wait()
	if !reached {
		t.Fatalf("the child did not come to %q", at)
	}
	return acknowledged
}

// check looks for one outcome of every acknowledged change, in a log that is whole.
func (e *edge) check(ctx context.Context, t *testing.T, acknowledged []selvage.ChangeID, at string) {
	t.Helper()
	var outcomes map[string]string
	for {
		outcomes = map[string]string{}
		for entry, err := range e.changes.Log(ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			f, err := entry.Fact()
			if err != nil {
				t.Fatal(err)
			}
			if client.Over(f.Event) {
				outcomes[f.Change.ID] += f.Event + " "
			}
		}
		if outcomes[string(acknowledged[len(acknowledged)-1])] != "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i, id := range acknowledged {
		want := "promoted "
		if i == 1 {
			want = "undone "
		}
		if outcomes[string(id)] != want {
			t.Errorf("killed at %q: %s is %q, want %q", at, id, outcomes[string(id)], want)
		}
	}
	if _, err := e.changes.Verify(ctx); err != nil {
		t.Error(err)
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/examples/shop"
)

// A change that kills the program that it runs in cannot run in this one: selvage
// try is started for each run, whose edge is a process that its keeper starts again.
const (
	killer   = "bad-memory"
	tryReady = time.Minute
)

// program builds selvage, once.
var program = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "selvage-recovery-bin-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(folder, "selvage")
	if text, err := exec.CommandContext(context.Background(), "go", "build", "-o", out, module+"/cmd/selvage").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build selvage: %w: %s", err, text)
	}
	return out, nil
})

// victim is a try, and what it has said.
type victim struct {
	cmd   *exec.Cmd
	ended chan struct{}
	mu    sync.Mutex // guards what follows
	text  strings.Builder
	died  time.Time // when it said that its edge has
}

func startVictim(ctx context.Context, folder string) (*victim, error) {
	bin, err := program()
	if err != nil {
		return nil, err
	}
	v := &victim{ended: make(chan struct{})}
	v.cmd = exec.CommandContext(ctx, bin, "try", "--quiet", "--admin", "off", "--listen", "127.0.0.1:0", "--origin", "127.0.0.1:0")
	v.cmd.Cancel = func() error { return v.cmd.Process.Signal(syscall.SIGTERM) }
	v.cmd.WaitDelay = 10 * time.Second
	v.cmd.Env = append(os.Environ(), "TMPDIR="+folder, "NO_COLOR=1")
	errs, err := v.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // waited for by end
		defer close(v.ended)
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			v.mu.Lock()
			v.text.WriteString(lines.Text() + "\n")
			if strings.Contains(lines.Text(), "The edge has died") && v.died.IsZero() {
				v.died = time.Now()
			}
			v.mu.Unlock()
		}
		_ = v.cmd.Wait() // it ends because we ask it to
	}()
	return v, nil
}

func (v *victim) end() {
	_ = v.cmd.Process.Signal(syscall.SIGINT) // it may be gone
	<-v.ended
}

// said is what it has said, and when its edge died.
func (v *victim) said() (string, time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.text.String(), v.died
}

var (
	baseLines  = regexp.MustCompile(`(?m)^ +\S+ [a-z]+-1 .*(http://\S+)$`)
	originLine = regexp.MustCompile(`(?m)^ +origin +(http://\S+)`)
	filesLine  = regexp.MustCompile(`(?m)^ +files +(\S+)`)
)

// measureVictims plays the rows whose change kills what it runs in, one after the
// other and with the machine for themselves.
func measureVictims(ctx context.Context, f flags, rate int) (all []result, err error) {
	for _, r := range rows {
		for i := 0; i < f.times && r.name == killer && f.wants(r); i++ {
			got, err := measureVictim(ctx, f, rate, r)
			if err != nil {
				return all, fmt.Errorf("%s: %w", r.title(), err)
			}
			all = append(all, got)
			f.say(got)
		}
	}
	return all, nil
}

// measureVictim is a run whose edge dies.
func measureVictim(ctx context.Context, f flags, rate int, r row) (out result, err error) {
	ctx, stop := context.WithTimeout(ctx, limit(r.name, rate))
	defer stop()
	out = result{row: r, rate: rate, state: client.Watching}
	folder, err := os.MkdirTemp("", "selvage-recovery-")
	if err != nil {
		return out, err
	}
	defer func() { _ = os.RemoveAll(folder) }() // what is left of it is in the folder for temporary files
	v, err := startVictim(ctx, folder)
	if err != nil {
		return out, err
	}
	defer v.end()
	var text string
	for began := time.Now(); !strings.Contains(text, "Ctrl-C"); text, _ = v.said() {
		if !rest(ctx, lookEvery) || time.Since(began) > tryReady {
			return out, errors.New("selvage try does not start:\n" + text)
		}
	}
	w := &witness{}
	w.begin()
	people, leave := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer leave()
	bases := baseLines.FindAllStringSubmatch(text, -1)
	for _, base := range bases {
		running.Go(func() {
			(&shop.Shoppers{
				Base: base[1], People: rate * int(think/time.Second) / len(bases), Pause: think, Addresses: 1 << 17, Seen: w.seen,
			}).Run(people)
		})
	}
	if !rest(ctx, warm(rate)) {
		return out, ctx.Err()
	}
	c, err := client.Find(filepath.Join(filesLine.FindStringSubmatch(text)[1], string(places[0].pop)+"-1"))
	if err != nil {
		return out, err
	}
	running.Go(func() { out.back = v.comesBack(people, bases[0][1]) })
	err = out.watch(ctx, c, filepath.Join(f.examples, r.name, "shop.yaml"), originLine.FindStringSubmatch(text)[1])
	leave()
	running.Wait()
	_, out.lost, out.why = w.now()
	return out, err
}

// watch deploys and waits for the outcome.
func (r *result) watch(ctx context.Context, c *client.Client, example, origin string) error {
	folder, err := os.MkdirTemp("", "selvage-recovery-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := copyExample(example, folder, origin); err != nil {
		return err
	}
	b, err := config.Pack(filepath.Join(folder, "change", "shop.yaml"))
	if err != nil {
		return err
	}
	for _, blob := range b.Blobs {
		data, err := os.ReadFile(blob.Name())
		if err == nil {
			err = c.PutBlob(ctx, hex.EncodeToString(blob.Digest[:]), bytes.NewReader(data))
		}
		if err != nil {
			return err
		}
	}
	digest := hex.EncodeToString(b.Manifest.Digest[:])
	if err := c.PutBlob(ctx, digest, bytes.NewReader(b.Data)); err != nil {
		return err
	}
	began := time.Now()
	change, err := c.Submit(ctx, client.Submission{Service: string(b.Manifest.Service.Service), Manifest: digest})
	if err != nil {
		return err
	}
	var first time.Time
	for p, err := range c.Watch(ctx, client.Of{Change: change.ID}) {
		if err != nil {
			return err
		}
		if first.IsZero() && p.Rollout.Makings[0] > 0 {
			first = time.Now()
		}
		if client.Over(p.Rollout.Change.State) && p.Rollout.Receipt != nil {
			r.state, r.receipt = p.Rollout.Change.State, *p.Rollout.Receipt
			r.bads, r.users = p.Rollout.Receipt.Served, int(p.Rollout.Receipt.Users)
		}
	}
	if r.asked = time.Since(began); !first.IsZero() {
		r.took = time.Since(first)
	}
	return nil
}

// comesBack is how long it took from the edge's death to an answer that was asked
// for after it; 0 if it did not die.
func (v *victim) comesBack(ctx context.Context, base string) time.Duration {
	own := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for rest(ctx, lookEvery) {
		_, died := v.said()
		if died.IsZero() {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/p/42", nil)
		if err != nil {
			return 0
		}
		resp, err := own.Do(req)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return time.Since(died)
		}
	}
	return 0
}

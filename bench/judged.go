package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/node"
)

// Four more of selvage, for the row of what judging costs: all serve the same
// file behind the same balancer. In the first nobody counts anything: it is the node
// alone, in a process of this program, since `selvage run` watches the level of what it serves also
// where nothing changes. The second is `selvage run` so, and the third is in the middle of a rollout, whose
// canary is the same but for a number that nothing depends on. The fourth is asked twice in a round, once
// with that rollout and once without anybody who counts: see [turns].
const (
	judgedPort = 9915 // of the first
	turnedPort = 9919 // where the fourth is told
	// The node alone has so little in its heap that it would be collected more often than the others, and idle
	// between its slices it would give back what it has to ask for in the next. So the collector of all of them
	// has the goal that a node has under load, some 40 MiB.
	aloneGoal, wholeGoal = "GOGC=800", "GOGC=400"
	judgedConf           = `
service: judged
hosts: ["127.0.0.1", bench]
tier: TIER
origins: {web: {endpoints: [http://127.0.0.1:9901]}}
routes: [{match: {path: /*}, origin: web}]
`
	judgedNode = `
name: NAME
listen: [{address: 127.0.0.1:PORT}]
admin: {address: "127.0.0.1:0"}
data: DIR/NAME
access_log: "off"
trusted_proxies: [127.0.0.0/8]
`
	// clientsScript makes every request another of 65,536 clients'.
	clientsScript = `
local n = 0
request = function()
  n = (n + 7919) % 65536
  return wrk.format(nil, nil, {["X-Forwarded-For"] = "198.18." .. math.floor(n / 256) .. "." .. (n % 256)})
end
`
)

// uncounted is the argument with which this program is the node in which nobody counts.
const uncounted = "uncounted"

// serveUncounted serves what files say, without anybody who follows changes.
func serveUncounted(ctx context.Context, nodeFile string, files ...string) error {
	l, err := config.Load(nodeFile, files)
	if err != nil {
		return err
	}
	n, err := node.New(node.Options{Config: l.Config})
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

// turnedAddress is where the fourth is told.
var turnedAddress = fmt.Sprintf("127.0.0.1:%d", turnedPort)

// addJudged starts them, and the rollouts that stand still at one half.
func (b *bench) addJudged(ctx context.Context, binary string) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	names := [...]string{"nobody counts", "no change", "judging", "in turns"}
	files := map[string]string{
		"judged-old.yaml": strings.Replace(judgedConf, "TIER", "2", 1), "judged-new.yaml": strings.Replace(judgedConf, "TIER", "3", 1),
		"clients.lua": clientsScript,
	}
	for i, name := range names {
		name = strings.ReplaceAll(name, " ", "-")
		files[name+".yaml"] = strings.NewReplacer("NAME", name, "PORT", fmt.Sprint(judgedPort+i), "DIR", b.dir).Replace(judgedNode)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, file), []byte(text), 0o600); err != nil {
			return err
		}
	}
	for i, name := range names {
		s := &server{name: "selvage, " + name, judged: judgedPort + i, script: filepath.Join(b.dir, "clients.lua"), env: []string{wholeGoal}}
		conf, old := filepath.Join(b.dir, strings.ReplaceAll(name, " ", "-")+".yaml"), filepath.Join(b.dir, "judged-old.yaml")
		run := []string{binary, "run", "-c", conf, old}
		switch name {
		case "nobody counts":
			s.env = []string{aloneGoal}
			run = []string{own, uncounted, conf, old}
		case "in turns":
			run = []string{own, turned, turnedAddress, conf, old, filepath.Join(b.dir, "judged-new.yaml")}
			s.name, s.base, s.turned = s.name+", nobody counts", s.name+", nobody counts", "http://"+turnedAddress+"/nobody"
		}
		if err := b.add(ctx, s, run[0], run[1:]...); err != nil {
			return err
		}
	}
	if err := b.holdRun(ctx, binary); err != nil {
		return err
	}
	again := *b.servers[len(b.servers)-1]
	again.name, again.turned = "selvage, in turns, judging", "http://"+turnedAddress+"/judging"
	b.servers = append(b.servers, &again)
	return patience(func() error { return again.turn(ctx) })
}

// holdRun starts a rollout of the third that stands still at one half.
func (b *bench) holdRun(ctx context.Context, binary string) error {
	ask := func(args ...string) ([]byte, error) {
		out, err := exec.CommandContext(ctx, binary, append(args, "--data", filepath.Join(b.dir, "judging"), "-o", "json")...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("selvage %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return out, nil
	}
	if _, err := ask("deploy", "--detach", filepath.Join(b.dir, "judged-new.yaml")); err != nil {
		return err
	}
	if err := patience(func() error {
		out, err := ask("rollout", "status")
		if err != nil {
			return err
		}
		var now struct {
			Share float64 `json:"share"`
		}
		if err := json.Unmarshal(out, &now); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if now.Share != heldAt {
			return fmt.Errorf("the rollout is not at one half: %s", out)
		}
		return nil
	}); err != nil {
		return err
	}
	_, err := ask("rollout", "hold")
	return err
}

// patience asks again for a minute.
func patience(ask func() error) (err error) {
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(200 * time.Millisecond) {
		if err = ask(); err == nil {
			return nil
		}
	}
	return err
}

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/selvage-edge/selvage/client"
)

// closedPort is an address that nobody listens on, nor will: the test has it.
func closedPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.CloseOnExec(fd) // the node is not to have it
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint("127.0.0.1:", at.(*unix.SockaddrInet4).Port)
}

func TestStatusSaysWhichEndpointIsDown(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	up, down := newLateOrigin(t).URL, "http://"+closedPort(t)
	write(t, dir, "public.html", "")
	shop := write(t, dir, "shop.yaml", `service: shop
owner: checkout-team
tier: 1
hosts: [shop.example, www.shop.example]
objectives: {availability: 99.9%, latency: {p99: 10m}}
origins:
  web: {endpoints: ["`+up+`", "`+down+`"], health: {path: /, every: 1s}}
  static: {folder: .}
routes: [{match: {path: /assets/*}, origin: static}, {match: {path: /*}, origin: web}]
`)
	data := filepath.Join(dir, "data")
	p := serveNode(t, "--listen", "127.0.0.1:0", "--admin", "off", "--data", data, shop)
	url := p.url()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "shop.example"
	for range 3 {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	var s client.Status
	p.until("the endpoint is down and the requests are counted", func() bool {
		s = statusOf(t, data)
		web := s.Services[0].Origins[1]
		return s.Services[0].LastMinute.Requests == 3 && web.Origin == "web" && web.Endpoints[0].State == "in" && web.Endpoints[1].State == "down"
	})
	if e := s.Services[0].Origins[1].Endpoints[1]; e.Endpoint != down || !strings.Contains(e.Why, "refused") {
		t.Errorf("the endpoint that is down: got %+v, want %s and why", e, down)
	}
	wants := []string{
		`^\* \S+ +ready, up \d+ s   POP local, zone local   selvage \S+$`,
		`^  listens    http://` + p.addr() + `$`,
		`^! shop       runs on 1 of 2 endpoints of web   2 routes, revision [0-9a-f]{16}$`,
		`^  owner      checkout-team, tier 1$`,
		`^  hosts      shop.example, www.shop.example$`,
		`^  last 60 s  3 requests, no bad, no hits$`,
		`^  answered   half within .* ms, 99 of 100 within .*s$`,
		`^  promised   \* kept:   100 % of 99.9 % without an error$`,
		`^  static     \* in    folder ` + dir + `$`,
		`^  web        \* in    ` + up,
		`^             x down  ` + down + `$`,
		`^                     .*connection refused`,
	}
	var out string
	lacks := func(want string) bool { return !regexp.MustCompile(`(?m)` + want).MatchString(out) }
	for end := time.Now().Add(patience / 2); ; time.Sleep(10 * time.Millisecond) { // a check of the endpoint that is up may take too long once
		var stderr string
		var status int
		if out, stderr, status = ask(t, nil, "status", "--data", data); status != 0 || stderr != "" {
			t.Errorf("status: exit status %d, %s", status, stderr)
		}
		if !slices.ContainsFunc(wants, lacks) || time.Now().After(end) {
			break
		}
	}
	for _, want := range wants {
		if lacks(want) {
			t.Errorf("status has no line %s:\n%s", want, out)
		}
	}
	p.end()
}

func TestStatusOfAnotherNodeNeedsItsToken(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	sum := sha256.Sum256([]byte("slv_right"))
	node := write(t, dir, "node.yaml", `
name: ams-1
listen: [{address: "127.0.0.1:0"}]
admin: {address: "127.0.0.1:0", tokens: [`+hex.EncodeToString(sum[:])+`]}
data: data
`)
	p := serveNode(t, "-c", node, service(t, dir, newLateOrigin(t).URL, 1))
	address := p.admin()
	for _, tt := range []struct{ token, want string }{
		{"", "selvage: " + address + " wants a token: put it into $SELVAGE_TOKEN; selvage token create makes one on the node's own machine\n"},
		{"slv_wrong", "selvage: " + address + " does not know the token in $SELVAGE_TOKEN: selvage token create makes another on the node's own machine\n"},
	} {
		out, stderr, status := ask(t, []string{"SELVAGE_TOKEN=" + tt.token}, "status", "--address", address)
		if status != exitFailed || stderr != tt.want || out != "" {
			t.Errorf("token %q: got exit status %d, %q, %q, want %q", tt.token, status, out, stderr, tt.want)
		}
	}
	out, stderr, status := ask(t, []string{"SELVAGE_TOKEN=slv_right", "SELVAGE_ADDRESS=" + address}, "status", "-o", "json")
	var s client.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != 0 || s.Node != "ams-1" {
		t.Errorf("the right token: got exit status %d, %s%s", status, out, stderr)
	}
	if resp, _ := get(t, http.DefaultClient, address+"/metrics"); resp.StatusCode != 200 {
		t.Errorf("metrics on loopback without a token: %s", resp.Status)
	}
	p.end()
	if _, stderr, status := ask(t, nil, "status", "--address", address); status != exitFailed || !strings.Contains(stderr, "connection refused") {
		t.Errorf("status of a node that is gone: exit status %d, %s", status, stderr)
	}
}

func TestStatusFitsTheTerminal(t *testing.T) {
	s := &client.Status{
		Version: "0.4.0", Node: "ams-1", POP: "ams", Zone: "eu", State: "ready", Started: time.Now().Add(-50 * time.Hour),
		Listeners:   []client.Listener{{Address: "[::]:443", TLS: true}},
		Connections: client.Connections{HTTP1: 49_999, HTTP2: 1_234, Upgraded: 567},
		Cache:       client.Cache{Objects: 412_345, Bytes: 1 << 31, MaxBytes: 1 << 32},
		Services: []client.Service{{
			Service: "shop", Owner: "checkout-team", Tier: 1, Revision: "0123456789abcdef", Routes: 123,
			Hosts:      []string{"shop.example", "www.shop.example", "m.shop.example", "shop.test"},
			Objectives: client.Objectives{Availability: 0.9999, P99MS: 300},
			LastMinute: client.Traffic{Requests: 123_456, Bad: 789, Hits: 99_999, P50MS: 12.3, P99MS: 1234},
			Origins: []client.Origin{{Origin: "web", Endpoints: []client.Endpoint{
				{
					Endpoint: "http://10.0.0.1:8080", Address: "10.0.0.1:8080", State: "in", InFlight: 12, LatencyMS: 123.4,
					LastError: "connection reset", LastErrorAt: time.Now().Add(-2500 * time.Millisecond),
				},
				{Endpoint: "http://10.0.0.2:8080", Address: "10.0.0.2:8080", State: "ejected", Why: "7 bad answers in a row"},
			}}},
		}},
	}
	var b strings.Builder
	statusPage{&b, ui{}, time.Now()}.node(s)
	for line := range strings.Lines(b.String()) {
		if n := len([]rune(line)) - 1; n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{"ready, up 2 d 2 h", "misses what was promised", "123,456 requests, 789 bad (0.6 %), 99,999 hits (81 %)", "missed: 99.361 % of 99.99 %", "missed: p99 1.2 s of 300 ms", "2 GiB of 4 GiB", " s ago: connection reset"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
}

// TestColourNeverCarriesMeaningAlone: without its colours a painted page says the same.
func TestColourNeverCarriesMeaningAlone(t *testing.T) {
	s := &client.Status{State: "draining", Started: time.Now(), Services: []client.Service{{Service: "shop", Origins: []client.Origin{
		{Origin: "web", Endpoints: []client.Endpoint{{Endpoint: "http://10.0.0.1:1", State: "down", Why: "refused"}}},
	}}}}
	var plain, painted strings.Builder
	statusPage{&plain, ui{}, time.Now()}.node(s)
	statusPage{&painted, ui{colour: true}, time.Now()}.node(s)
	if got := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(painted.String(), ""); got != plain.String() || got == painted.String() {
		t.Errorf("painted:\n%s\nplain:\n%s", painted.String(), plain.String())
	}
	if !strings.Contains(plain.String(), "origin web is down") || !strings.Contains(plain.String(), "draining") {
		t.Errorf("the words do not say it:\n%s", plain.String())
	}
}

package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The ports, one for each kind of request and server.
const originPort = 9901

// server is one that is measured: one process on core 0.
type server struct {
	name, version string
	cmd           *exec.Cmd
	pass, hit     int // ports, 0 where it cannot
	judged        int
	script        string   // of the generator, for it alone
	base          string   // the server that it is compared with; empty for the first
	turned        string   // where it is told how to serve, before each slice
	env           []string // beside the bench's own
	passTLS       int
	hitTLS        int
	most          int           // connections it can hold under common limits of file descriptors, 0 for no bound
	started       time.Duration // from the start of the process to the first answer
}

func (s *server) url(r row) string {
	port := map[kind]int{pass: s.pass, hit: s.hit, judged: s.judged}[r.kind]
	scheme := "http"
	if r.tls {
		scheme, port = "https", map[kind]int{pass: s.passTLS, hit: s.hitTLS}[r.kind]
	}
	if port == 0 {
		return ""
	}
	return fmt.Sprintf("%s://127.0.0.1:%d%s", scheme, port, r.path)
}

type bench struct {
	dir     string
	origin  *exec.Cmd
	servers []*server
}

// start builds selvage and starts it, its peers that are installed, and the origin.
func start(ctx context.Context, dir string, f flags) (*bench, error) {
	b := &bench{dir: dir}
	if err := writeFiles(dir); err != nil {
		return nil, err
	}
	if err := writeCertificate(dir); err != nil {
		return nil, err
	}
	var err error
	if b.origin, err = b.spawn(ctx, "1", nil, "nginx", "-p", dir, "-c", filepath.Join(dir, "origin.conf")); err != nil {
		return nil, fmt.Errorf("the origin is missing: apt-get install nginx: %w", err)
	}
	if err := answers(ctx, originPort); err != nil {
		return nil, err
	}
	binary := filepath.Join(dir, "selvage")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, "./cmd/selvage")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build selvage: %w\n%s", err, out)
	}
	own := &server{name: "selvage", pass: 9911, hit: 9912, passTLS: 9913, hitTLS: 9914}
	if err := b.add(ctx, own, binary, "run", "-c", filepath.Join(dir, "node.yaml"), filepath.Join(dir, "pass.yaml"), filepath.Join(dir, "hit.yaml")); err != nil {
		b.stop()
		return nil, err
	}
	if slices.ContainsFunc(rows, func(r row) bool { return r.kind == judged && f.wants(r) }) {
		if err := b.addJudged(ctx, binary); err != nil {
			b.stop()
			return nil, err
		}
	}
	peers := []struct {
		server
		args []string
	}{
		{server{name: "nginx", pass: 9921, hit: 9922, passTLS: 9923, hitTLS: 9924}, []string{"nginx", "-p", dir, "-c", filepath.Join(dir, "nginx.conf")}},
		{server{name: "haproxy", pass: 9931, hit: 9932, passTLS: 9933, hitTLS: 9934, most: 9000}, []string{"haproxy", "-db", "-q", "-f", filepath.Join(dir, "haproxy.cfg")}},
		{server{name: "varnishd", hit: 9952, most: 500}, []string{
			"varnishd", "-F", "-a", "127.0.0.1:9952", "-f", filepath.Join(dir, "varnish.vcl"), "-n", filepath.Join(dir, "varnish"), "-s", "malloc,256m",
			"-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=500",
		}},
		{server{name: "caddy", pass: 9941, passTLS: 9943}, []string{"caddy", "run", "--config", filepath.Join(dir, "Caddyfile"), "--adapter", "caddyfile"}},
	}
	for _, p := range peers {
		if _, err := exec.LookPath(p.args[0]); err != nil {
			fmt.Fprintf(os.Stderr, "%s is not installed and is left out: apt-get install %s\n", p.name, p.name)
			continue
		}
		if err := b.add(ctx, &p.server, p.args[0], p.args[1:]...); err != nil {
			b.stop()
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) add(ctx context.Context, s *server, name string, args ...string) error {
	began := time.Now()
	cmd, err := b.spawn(ctx, "0", s.env, name, args...)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.cmd = cmd
	b.servers = append(b.servers, s)
	if err := answers(ctx, cmp.Or(s.pass, s.hit, s.judged)); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	s.started = time.Since(began)
	s.version = versionOf(ctx, s.name, name)
	return nil
}

// spawn starts a process on one core. It is the process itself: taskset execs it.
func (b *bench) spawn(ctx context.Context, core string, env []string, name string, args ...string) (*exec.Cmd, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core, name}, args...)...)
	log, err := os.Create(filepath.Join(b.dir, filepath.Base(name)+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(append(os.Environ(), "XDG_DATA_HOME="+b.dir, "XDG_CONFIG_HOME="+b.dir, "HOME="+b.dir), env...)
	return cmd, cmd.Start()
}

func (b *bench) stop() {
	for _, s := range b.servers {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
	if b.origin != nil {
		_ = b.origin.Process.Kill()
		_ = b.origin.Wait()
	}
}

// answers waits until a port answers a request.
func answers(ctx context.Context, port int) error {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = c.SetDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte("GET /1k HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"))
		buf := make([]byte, 12)
		n, _ := c.Read(buf)
		c.Close()
		if strings.HasSuffix(string(buf[:n]), " 200") {
			return nil
		}
	}
	return fmt.Errorf("port %d does not answer", port)
}

func versionOf(ctx context.Context, name, binary string) string {
	flag := map[string]string{"selvage": "version", "nginx": "-v", "haproxy": "-v", "caddy": "version", "varnishd": "-V"}[name]
	if flag == "" {
		return name // another one of ours
	}
	out, err := exec.CommandContext(ctx, binary, flag).CombinedOutput()
	if err != nil {
		return name
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if strings.Contains(line, name) || strings.Contains(line, "HAProxy") {
		return line
	}
	return name + " " + line
}

// writeCertificate makes a certificate that all of them use.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, data := range map[string][]byte{"cert.pem": chain, "key.pem": secret, "both.pem": append(chain, secret...)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

package origin

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// plan is an origin's configuration, checked, with its files read and its
// endpoints' identities known. It has no effect on anything yet.
type plan struct {
	origin    selvage.Origin // with the defaults of what may not be zero
	endpoints []endpointPlan
	settings  string // digest of all of it
}

type endpointPlan struct {
	key       endpointKey
	url       string // as configured
	authority string // host, and the port where it is not the scheme's own
	tls       *tls.Config
}

func newPlan(t selvage.Tenant, s selvage.ServiceName, o selvage.Origin) (*plan, error) {
	p := &plan{origin: withDefaults(o)}
	if o.Folder != "" {
		if len(o.Endpoints) > 0 {
			return nil, errors.New("it has endpoints and a folder: take one of them away")
		}
		return p, p.seal("")
	}
	if len(o.Endpoints) == 0 {
		return nil, errors.New("it has neither endpoints nor a folder")
	}
	secrets, err := loadTLS(o.TLS)
	if err != nil {
		return nil, err
	}
	for _, text := range o.Endpoints {
		e, err := p.endpoint(text, secrets)
		if err != nil {
			return nil, fmt.Errorf("endpoint %q: %w", text, err)
		}
		e.key.tenant, e.key.service = t, s
		if !slices.ContainsFunc(p.endpoints, func(o endpointPlan) bool { return o.key == e.key }) {
			p.endpoints = append(p.endpoints, e)
		}
	}
	return p, p.seal(secrets.digest)
}

// withDefaults fills in what the configuration's defaults always set, for
// callers that make an Origin themselves. A zero that means something stays.
func withDefaults(o selvage.Origin) selvage.Origin {
	o.Host = cmp.Or(o.Host, "keep")
	o.Protocol = cmp.Or(o.Protocol, selvage.HTTP1)
	o.Retry.Attempts = min(max(o.Retry.Attempts, 1), maxAttempts)
	o.Connections.Max = cmp.Or(o.Connections.Max, 1024)
	if o.Health != nil {
		h := *o.Health
		h.Path = cmp.Or(h.Path, "/")
		h.Every = cmp.Or(h.Every, selvage.Duration(2*time.Second))
		h.Timeout = cmp.Or(h.Timeout, selvage.Duration(time.Second))
		h.Rise, h.Fall = max(h.Rise, 1), max(h.Fall, 1)
		o.Health = &h
	}
	return o
}

func (p *plan) seal(secrets string) error {
	text, err := json.Marshal(p.origin)
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	sum := sha256.Sum256(append(text, secrets...))
	p.settings = hex.EncodeToString(sum[:])
	return nil
}

func (p *plan) endpoint(text string, secrets *secrets) (endpointPlan, error) {
	o := &p.origin
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return endpointPlan{}, err
	case u.Scheme != "http" && u.Scheme != "https":
		return endpointPlan{}, errors.New("it must begin with http:// or https://")
	case u.Hostname() == "":
		return endpointPlan{}, errors.New("it has no host")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/"):
		return endpointPlan{}, errors.New("it is more than a scheme, a host and a port")
	case u.Scheme == "http" && o.Protocol == selvage.H2:
		return endpointPlan{}, errors.New("protocol h2 needs https: write https://, or protocol h2c")
	case u.Scheme == "https" && o.Protocol == selvage.H2C:
		return endpointPlan{}, errors.New("protocol h2c needs http: write http://, or protocol h2")
	}
	e := endpointPlan{url: text, key: endpointKey{
		scheme: u.Scheme, host: strings.ToLower(u.Hostname()), port: u.Port(), protocol: o.Protocol,
		conns: o.Connections, eject: o.Eject,
		connect: o.Timeout.Connect, firstByte: o.Timeout.FirstByte, idle: o.Timeout.Idle,
	}}
	own := "80"
	if u.Scheme == "https" {
		own = "443"
	}
	e.key.port = cmp.Or(e.key.port, own)
	if port, err := strconv.ParseUint(e.key.port, 10, 16); err != nil || port == 0 {
		return endpointPlan{}, fmt.Errorf("%q is not a port", e.key.port)
	}
	e.authority = net.JoinHostPort(e.key.host, e.key.port)
	if e.key.port == own {
		e.authority = strings.TrimSuffix(e.authority, ":"+own)
	}
	if o.Health != nil {
		e.key.health = *o.Health
	}
	if u.Scheme == "https" {
		e.key.tls = secrets.digest
		e.tls = secrets.config(o, e.key.host)
	}
	return e, nil
}

// fixed is the endpoint's address if its host is one.
func (k *endpointKey) fixed() (netip.Addr, bool) {
	a, err := netip.ParseAddr(k.host)
	return a.Unmap(), err == nil
}

// secrets are the TLS files of an origin, read.
type secrets struct {
	roots        *x509.CertPool // nil: the system's
	certificates []tls.Certificate
	digest       string // of what the files hold, and the server name
}

// loadTLS reads the files. What they hold is part of an endpoint's identity, so a
// reload after a certificate was renewed makes new connections with the new one.
func loadTLS(o selvage.OriginTLS) (*secrets, error) {
	s := &secrets{}
	all := fmt.Appendf(nil, "%q", o.ServerName)
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("read tls.ca: %w", err)
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read tls.ca: %s holds no certificate in PEM form", o.CA)
		}
		all = fmt.Appendf(all, "ca %q", pem)
	}
	if (o.Certificate == "") != (o.Key == "") {
		return nil, errors.New("tls.certificate and tls.key belong together: one of them is missing")
	}
	if o.Certificate != "" {
		chain, err := os.ReadFile(o.Certificate)
		if err != nil {
			return nil, fmt.Errorf("read tls.certificate: %w", err)
		}
		key, where := []byte(o.Key), "the key that is given"
		if !o.HasKey() {
			where = "tls.key " + o.Key
			if key, err = os.ReadFile(o.Key); err != nil {
				return nil, fmt.Errorf("read tls.key: %w", err)
			}
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("read tls.certificate %s with %s: %w", o.Certificate, where, err)
		}
		s.certificates = []tls.Certificate{pair}
		all = fmt.Appendf(all, "pair %q %q", chain, key)
	}
	sum := sha256.Sum256(all)
	s.digest = hex.EncodeToString(sum[:])
	return s, nil
}

func (s *secrets) config(o *selvage.Origin, host string) *tls.Config {
	c := &tls.Config{
		RootCAs:            s.roots,
		Certificates:       s.certificates,
		ServerName:         cmp.Or(o.TLS.ServerName, host),
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
	}
	if o.Protocol == selvage.H2 {
		c.NextProtos = []string{"h2"}
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if s.NegotiatedProtocol != "h2" {
				return errNotH2
			}
			return nil
		}
	}
	return c
}

var errNotH2 = errors.New("it does not speak h2")

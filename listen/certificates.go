package listen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

// certificateCheck is how often the files are looked at for changes.
const certificateCheck = 10 * time.Second

// certificates are those that handshakes choose from.
type certificates struct {
	data  string
	allow func(name string) bool
	log   *slog.Logger
	first func(*tls.ClientHelloInfo, netip.Addr) (*tls.Certificate, func(bool)) // may be nil

	ring      atomic.Pointer[keyring]
	authority atomic.Pointer[authority] // nil unless it is asked for

	mu     sync.Mutex // guards what follows: what the files were when they were last read
	conf   selvage.TLS
	stamps []stamp
}

// keyring is what certificates are chosen from. It does not change.
type keyring struct {
	exact map[string][]*tls.Certificate
	below map[string][]*tls.Certificate // *.shop.example under shop.example
	first *tls.Certificate
}

// stamp tells whether a file has changed.
type stamp struct {
	modified time.Time
	size     int64
}

// load reads the certificates of t and, if it asks for it, the development
// authority. Nothing is changed until commit is called. All mistakes are in the
// error; certificates that are not valid now are only warned of, since an edge
// with an expired certificate serves better than none.
func (c *certificates) load(t selvage.TLS, now time.Time) (commit func(), err error) {
	stamps := stampsOf(t.Certificates)
	ring, warnings, err := loadKeyring(t.Certificates, now)
	if err != nil {
		return nil, err
	}
	ca := c.authority.Load()
	if t.Development && ca == nil {
		if ca, err = openAuthority(c.data, now); err != nil {
			return nil, fmt.Errorf("development authority: %w", err)
		}
	}
	return func() {
		for _, w := range warnings {
			c.log.Warn("certificate", "file", w.file, "problem", w.problem)
		}
		c.ring.Store(ring)
		if t.Development {
			c.authority.Store(ca)
		} else {
			c.authority.Store(nil)
		}
		c.mu.Lock()
		c.conf, c.stamps = t, stamps
		c.mu.Unlock()
	}, nil
}

// check reads the certificates again if a file has changed since it was last
// looked at, and keeps the old ones where that fails.
func (c *certificates) check() {
	c.mu.Lock()
	conf, old := c.conf, c.stamps
	c.mu.Unlock()
	stamps := stampsOf(conf.Certificates)
	if slices.Equal(stamps, old) {
		return
	}
	c.mu.Lock()
	c.stamps = stamps // so that a failure is reported once
	c.mu.Unlock()
	commit, err := c.load(conf, time.Now())
	if err != nil {
		c.log.Error("certificates have changed and cannot be read; the old ones stay", "error", err)
		return
	}
	commit()
	c.log.Info("certificates were read again")
}

// stampsOf has a zero for a file that is not there.
func stampsOf(files []selvage.Certificate) []stamp {
	stamps := make([]stamp, 0, 2*len(files))
	for _, f := range files {
		stamps = append(stamps, stampOf(f.Certificate), stampOf(f.Key))
	}
	return stamps
}

func stampOf(name string) (s stamp) {
	if info, err := os.Stat(name); err == nil {
		s = stamp{info.ModTime(), info.Size()}
	}
	return s
}

// warning is something about a certificate that people should know.
type warning struct{ file, problem string }

func loadKeyring(files []selvage.Certificate, now time.Time) (*keyring, []warning, error) {
	ring := &keyring{exact: map[string][]*tls.Certificate{}, below: map[string][]*tls.Certificate{}}
	var warnings []warning
	var errs []error
	for _, f := range files {
		cert, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("load certificate %s with key %s: %w", f.Certificate, f.Key, err))
			continue
		}
		leaf := cert.Leaf
		switch {
		case now.After(leaf.NotAfter):
			warnings = append(warnings, warning{f.Certificate, "expired on " + leaf.NotAfter.UTC().Format(time.DateOnly)})
		case now.Before(leaf.NotBefore):
			warnings = append(warnings, warning{f.Certificate, "not valid before " + leaf.NotBefore.UTC().Format(time.DateOnly)})
		}
		if len(leaf.DNSNames) == 0 && len(files) > 1 {
			warnings = append(warnings, warning{f.Certificate, "has no names, so no server name chooses it"})
		}
		ring.add(&cert)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, nil, err
	}
	return ring, warnings, nil
}

func (k *keyring) add(cert *tls.Certificate) {
	if k.first == nil {
		k.first = cert
	}
	for _, name := range cert.Leaf.DNSNames {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if parent, ok := strings.CutPrefix(name, "*."); ok {
			k.below[parent] = append(k.below[parent], cert)
		} else {
			k.exact[name] = append(k.exact[name], cert)
		}
	}
}

// find is the first certificate for the name that the client can use: an exact
// name goes before one with a star, which stands for one label (RFC 9525,
// section 6.3).
func (k *keyring) find(name string, hello *tls.ClientHelloInfo) *tls.Certificate {
	list := k.exact[name]
	if _, parent, ok := strings.Cut(name, "."); ok && len(list) == 0 {
		list = k.below[parent]
	}
	for _, cert := range list {
		if hello.SupportsCertificate(cert) == nil {
			return cert
		}
	}
	if len(list) > 0 {
		return list[0] // the handshake will say what does not fit
	}
	return nil
}

var errNoCertificate = errors.New("no certificate for this server name")

// choose is tls.Config.GetCertificate.
func (c *certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	w, ok := hello.Conn.(*wire)
	if c.first == nil || !ok {
		return c.ofFiles(hello)
	}
	cert, ended := c.first(hello, w.peer.Addr())
	var err error
	if cert == nil {
		cert, err = c.ofFiles(hello)
	}
	if ended != nil {
		w.shown = &showing{fits: err == nil && hello.SupportsCertificate(cert) == nil, ended: ended}
	}
	return cert, err
}

// showing is a certificate that a client was shown, while somebody wants to know what it says.
type showing struct {
	fits  bool // the client can use it at all
	ended func(refused bool)
}

// end tells how the handshake ended.
func (s *showing) end(err error) {
	if s != nil {
		s.ended(err != nil && (!s.fits || refuses(err)))
	}
}

// The alerts by which a client says that it is the certificate that it does not take
// (RFC 8446, section 6.2): bad_certificate, unsupported_certificate,
// certificate_revoked, certificate_expired, certificate_unknown, unknown_ca. One that
// closes without a word has said nothing: health checks do so all day.
var refusals = []tls.AlertError{42, 43, 44, 45, 46, 48}

// refuses says that a handshake ended with such an alert of the client. The standard
// library's own type for alerts has no name, but the words of the one that has.
func refuses(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error" && slices.ContainsFunc(refusals, func(a tls.AlertError) bool { return op.Err.Error() == a.Error() })
}

// ofFiles chooses among the certificates of the node file, and those of the development authority.
func (c *certificates) ofFiles(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	ring := c.ring.Load()
	if cert := ring.find(name, hello); cert != nil {
		return cert, nil
	}
	if ca := c.authority.Load(); ca != nil {
		if cert, err := ca.certificate(name, hello.Conn.LocalAddr(), c.allow, time.Now()); cert != nil || err != nil {
			return cert, err
		}
	}
	if ring.first == nil {
		return nil, errNoCertificate
	}
	return ring.first, nil
}

// authorityPath is the file of the authority's certificate, empty without one.
func (c *certificates) authorityPath() string {
	if ca := c.authority.Load(); ca != nil {
		return ca.path
	}
	return ""
}

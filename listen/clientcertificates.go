package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/selvage-edge/selvage"
)

// asking is how a listener asks its clients for certificates. It does not change.
type asking struct {
	settings selvage.ClientCertificates
	text     string // of the file; whether it has changed decides whether tickets of before are good
	pool     *x509.CertPool
	conf     *tls.Config
}

// required says whether nobody is let in without a certificate that is believed.
func (a *asking) required() bool { return a != nil && a.settings.Mode != selvage.CertificateRequested }

// readAuthorities reads the certificates of a file.
func readAuthorities(file string) (text string, pool *x509.CertPool, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", nil, fmt.Errorf("read authorities of clients: %w", err)
	}
	if pool, err = selvage.ParseAuthorities(data); err != nil {
		return "", nil, fmt.Errorf("read authorities of clients: %s: %w", file, err)
	}
	return string(data), pool, nil
}

// asked is how a listener asks, and what the file of its authorities was before it was
// read: one that is changed later is read again.
type asked struct {
	ask *asking
	at  stamp
}

// asks reads the authorities of all listeners that ask for certificates, by their
// addresses. What is as it was stays itself. All mistakes are in the error.
func (g *Group) asks(listeners []selvage.Listener, lowest uint16) (map[string]asked, error) {
	asks := map[string]asked{}
	var errs []error
	for i := range listeners {
		l := &listeners[i]
		if l.ClientCertificates == nil || !l.TLS {
			continue
		}
		at := stampOf(l.ClientCertificates.Authorities)
		a, err := g.ask(*l.ClientCertificates, lowest, g.askingOf(l.Address))
		if err != nil {
			errs = append(errs, fmt.Errorf("listen on %s: %w", l.Address, err))
			continue
		}
		asks[l.Address] = asked{a, at}
	}
	return asks, errors.Join(errs...)
}

// askingOf is how the listener of an address asks now, nil if it does not.
func (g *Group) askingOf(address string) *asking {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sockets[address]; s != nil {
		return s.ask.Load()
	}
	return nil
}

// ask is old where nothing of it is another: the keys of session tickets live in
// its configuration. A ticket of before another set of authorities is no good.
func (g *Group) ask(settings selvage.ClientCertificates, lowest uint16, old *asking) (*asking, error) {
	text, pool, err := readAuthorities(settings.Authorities)
	if err != nil {
		return nil, err
	}
	if old != nil && old.settings == settings && old.text == text && old.conf.MinVersion == lowest {
		return old, nil
	}
	a := &asking{settings: settings, text: text, pool: pool, conf: g.newTLS(lowest)}
	a.conf.ClientCAs, a.conf.ClientAuth = pool, tls.RequireAndVerifyClientCert
	if !a.required() {
		a.conf.ClientAuth = tls.RequestClientCert
	}
	return a, nil
}

// checkAuthorities reads the authorities of clients again where their files have
// changed, and keeps the old ones where that fails, which is reported once.
func (g *Group) checkAuthorities() {
	g.change.Lock()
	defer g.change.Unlock()
	g.mu.Lock()
	sockets := make([]*socket, 0, len(g.sockets))
	for _, s := range g.sockets {
		sockets = append(sockets, s)
	}
	g.mu.Unlock()
	for _, s := range sockets {
		old := s.ask.Load()
		if old == nil {
			continue
		}
		at := stampOf(old.settings.Authorities)
		if at == s.stamp {
			continue
		}
		s.stamp = at
		next, err := g.ask(old.settings, old.conf.MinVersion, old)
		switch {
		case err != nil:
			g.log().Error("authorities of clients have changed and cannot be read; the old ones stay", "address", s.settings.Load().Address, "error", err)
		case next != old:
			s.ask.Store(next)
			g.log().Info("authorities of clients were read again", "address", s.settings.Load().Address)
		}
	}
}

// distrust says why the certificate of a client that was let in all the same is
// not believed, as crypto/tls looks where it is required. nil: it is, or there is none.
func (a *asking) distrust(state *tls.ConnectionState) error {
	if a == nil || a.required() || len(state.PeerCertificates) == 0 {
		return nil
	}
	o := x509.VerifyOptions{Roots: a.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, cert := range state.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	chains, err := state.PeerCertificates[0].Verify(o)
	state.VerifiedChains = chains
	return err
}

// refusesClient says that a handshake ended because the client has no certificate
// or one that is not believed. The standard library has no type for the former.
func refusesClient(err error) bool {
	_, bad := errors.AsType[*tls.CertificateVerificationError](err)
	return bad || strings.Contains(err.Error(), "client didn't provide a certificate")
}

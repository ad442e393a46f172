package fastly

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// clientTrailer is the trailers of the client's request.
func clientTrailer(r *http.Request) func() http.Header {
	return func() http.Header { return r.Trailer }
}

// aboutClient is a function that tells something of the client. Parameter 0 is
// the request's handle; the older functions have none and mean the only one:
// shifted leads theirs to the same code.
func aboutClient(do func(c *call, d *downstream) Status) func(*call) Status {
	return func(c *call) Status {
		d := c.x.down
		if d.taken && c.u32(0) == d.handle {
			return do(c, d) // also when it was sent on: the client is still there
		}
		if _, ok := handle[*request](c, 0); ok {
			return Failed // a request of the guest's own has no client
		}
		return BadHandle
	}
}

// shifted calls a newer function with the older one's parameters.
func shifted(do func(*call) Status) func(*call) Status {
	return func(c *call) Status {
		older := c.args
		defer func() { c.args = older }()
		c.args = append([]uint64{uint64(c.x.down.handle)}, older...)
		if !c.x.down.taken {
			return Failed
		}
		return do(c)
	}
}

// noneOfClient is a fact that nobody here knows.
func noneOfClient(*call, *downstream) Status { return None }

// noOfClient is a question whose answer is no.
func noOfClient(c *call, _ *downstream) Status {
	c.put32(1, 0)
	return OK
}

func clientAddress(c *call, d *downstream) Status { return c.peer(d.Client.Address.Addr()) }

func serverAddress(c *call, d *downstream) Status { return c.peer(d.Client.Server.Addr()) }

// peer answers with an address. Libraries take it for granted that there is
// one, and end the program without: what is not known is 0.0.0.0.
func (c *call) peer(a netip.Addr) Status {
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
	}
	return c.address(1, a)
}

func requestID(c *call, d *downstream) Status {
	if d.Client.RequestID == [16]byte{} {
		return None
	}
	return answer(c, 1, hex.EncodeToString(d.Client.RequestID[:]))
}

// tlsFact is a text that the client's handshake decided. Over TLS libraries take
// it for granted that there is one: what is not there is empty.
func tlsFact(of func(*tls.ConnectionState) string) func(*call) Status {
	return aboutClient(func(c *call, d *downstream) Status {
		if d.R.TLS == nil {
			return None
		}
		return answer(c, 1, of(d.R.TLS))
	})
}

// opensslNames are the names that OpenSSL has for the suites of RFC 5246's time
// that Go speaks; those of TLS 1.3 have the same name everywhere.
var opensslNames = map[uint16]string{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA",
}

func cipherName(s *tls.ConnectionState) string {
	if name := opensslNames[s.CipherSuite]; name != "" {
		return name
	}
	return tls.CipherSuiteName(s.CipherSuite)
}

func tlsProtocol(s *tls.ConnectionState) string {
	switch s.Version {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

func serverName(s *tls.ConnectionState) string { return s.ServerName }

// clientCertificate is the client's certificate, in PEM; empty if it showed none.
func clientCertificate(s *tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return certificateText(s.PeerCertificates[0].Raw)
}

// The results of looking at a client's certificate.
const (
	certificateGood    = 0
	certificateBad     = 1
	certificateExpired = 3
	certificateNobodys = 4 // of an authority that is not known
	certificateMissing = 5
	certificateUnknown = 6
)

// clientCertificateResult says what the listener thinks of the client's
// certificate. One that requires them lets nobody in with another.
func clientCertificateResult(c *call, d *downstream) Status {
	s := d.R.TLS
	if s == nil {
		return None
	}
	result := uint32(certificateGood)
	if len(s.VerifiedChains) == 0 {
		result = distrusted(len(s.PeerCertificates), d.Client.Distrust)
	}
	c.put32(1, result)
	return OK
}

func distrusted(certificates int, why error) uint32 {
	if certificates == 0 {
		return certificateMissing
	}
	if why == nil {
		return certificateUnknown // nobody looked
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](why); ok {
		return certificateNobodys
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](why); ok && invalid.Reason == x509.Expired {
		return certificateExpired
	}
	return certificateBad
}

// originalNames are the names of the request's fields as the client sent them.
func (d *downstream) originalNames() []string {
	if d.Client.FieldNames != "" {
		return strings.Split(d.Client.FieldNames, "\n")
	}
	h := fromHTTP(d.Header(), d.R.Host)
	names := make([]string, 0, len(h.fields))
	for _, f := range h.fields {
		names = append(names, f.name)
	}
	return names
}

func originalNames(c *call, d *downstream) Status {
	all := d.originalNames()
	seen := make(map[string]bool, len(all))
	names := slices.DeleteFunc(all, func(name string) bool {
		key := strings.ToLower(name)
		again := seen[key]
		seen[key] = true
		return again
	})
	return c.list(1, names)
}

func originalCount(c *call, d *downstream) Status {
	c.put32(1, uint32(len(d.originalNames())))
	return OK
}

// complianceRegion is the region of the node; nobody says more of compliance here.
func complianceRegion(c *call, _ *downstream) Status {
	region := c.x.abi.options.Region
	if region == "" {
		return None
	}
	return answer(c, 1, region)
}

// promise is another request that a guest waits for.
type promise struct {
	done chan struct{} // closed when next is set
	next *Following    // nil: none comes
	stop func()
}

func (p *promise) ready() <-chan struct{} { return p.done }

// Close gives it up, and a request that came meanwhile back.
func (p *promise) Close() error {
	p.stop()
	<-p.done
	if p.next != nil {
		p.next.Refuse()
	}
	return nil
}

// defaultNextWait is how long a guest that does not say waits for another request.
const defaultNextWait = 10 * time.Second

// nextRequest begins to wait for another request: for one at a time, since what
// one sandbox has in its hands no other serves.
func nextRequest(c *call) Status {
	wait := defaultNextWait
	if mask := c.u32(0); mask&2 != 0 {
		wait = time.Duration(min(c.record(1, 8).u64(0), 1<<31)) * time.Millisecond
	}
	c.at(c.u32(2), 4)
	switch {
	case c.bad:
		return Invalid
	case c.x.waits != nil:
		return LimitExceeded
	}
	p := &promise{done: make(chan struct{})}
	ctx, cancel := c.cancellable()
	p.stop = cancel
	next := c.x.down.request.Next
	if next == nil || len(c.x.handles.items) > maxHandlesMade/2 {
		close(p.done)
	} else {
		c.x.work.Go(func() {
			defer close(p.done)
			p.next = next(ctx, wait)
		})
	}
	status := c.give(2, p)
	if status != OK {
		_ = p.Close() // it has no error
		return status
	}
	c.x.waits = p
	return OK
}

// nextRequestWait answers with the next request. The one before is over then, and
// whatever the guest left open of it is closed.
func nextRequestWait(c *call) Status {
	p, ok := handle[*promise](c, 0)
	if !ok {
		return BadHandle
	}
	c.at(c.u32(1), 4)
	c.at(c.u32(2), 4)
	if c.bad {
		return Invalid
	}
	c.x.handles.drop(c.u32(0))
	c.x.waits = nil
	c.x.down.givenUp = !c.x.down.sent
	c.x.abandon()
	c.x.settle()
	c.x.down.done(c.mem)
	select {
	case <-p.done:
	case <-c.ctx.Done():
		_ = p.Close() // it has no error
		return None
	}
	if p.next == nil {
		return None
	}
	c.x.turn(c, p.next)
	return shiftedTo(c, 1, bodyDownstreamGet)
}

// shiftedTo calls a function with the parameters from i on.
func shiftedTo(c *call, i int, do func(*call) Status) Status {
	all := c.args
	defer func() { c.args = all }()
	c.args = all[i:]
	return do(c)
}

func nextRequestAbandon(c *call) Status {
	p, ok := handle[*promise](c, 0)
	if !ok {
		return BadHandle
	}
	c.x.handles.drop(c.u32(0))
	c.x.waits = nil
	_ = p.Close() // it has no error
	return OK
}

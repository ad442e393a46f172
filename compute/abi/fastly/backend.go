package fastly

import (
	"cmp"
	"net"
	"strconv"
	"time"
)

// Health is what is known of a backend.
type Health uint32

// The healths of a backend.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
)

// Backend is what a guest may learn of an origin.
type Backend struct {
	Host         string // name or address
	Port         uint16
	OverrideHost string // the Host that is sent; empty: the request's
	TLS          bool
	// MinTLS and MaxTLS are 10, 11, 12 or 13; 0: not said.
	MinTLS, MaxTLS uint8
	// Timeouts; 0: not said.
	Connect, FirstByte, BetweenBytes time.Duration
	// Idle is how long a connection is kept for the next request; 0: not said.
	Idle time.Duration
	// TCP keep-alive: nil if it is not said.
	KeepAlive *KeepAlive
	Health    Health
	Dynamic   bool
}

// KeepAlive is how TCP asks whether the other side is there.
type KeepAlive struct {
	Interval, Time time.Duration
	Probes         uint32
}

// Backends are the origins of a service. Safe for concurrent use.
type Backends interface {
	// Backend is the origin of a name; false if there is none.
	Backend(name string) (Backend, bool)
}

// DynamicBackend is an origin that a guest asks for.
type DynamicBackend struct {
	Name   string
	Target string // host, or host and port
	Backend
	// CertificateHost, SNI: names for TLS, when not the target's.
	CertificateHost, SNI string
	NoSNI                bool // no name is sent
	// CA are certificates in PEM; empty: the system's.
	CA []byte
	// Ciphers are the suites that may be spoken before TLS 1.3. Nil: any; empty: none.
	Ciphers []uint16
	// ClientCertificate is in PEM, and ClientKey its key.
	ClientCertificate, ClientKey []byte
	NoPool                       bool // a connection for each request
	HTTP2                        bool // as gRPC needs it
}

// maxDynamicBackends is how many a guest may make for one request.
const maxDynamicBackends = 64

// hasBackend says whether there is an origin of that name, as far as is known.
func (x *exchange) hasBackend(name string) bool {
	_, ok := x.backend(name)
	return ok || x.abi.options.Backends == nil
}

func (x *exchange) backend(name string) (Backend, bool) {
	if d, ok := x.dynamic[name]; ok {
		d.Dynamic = true
		return d.Backend, true
	}
	if x.abi.options.Backends == nil {
		return Backend{}, false
	}
	return x.abi.options.Backends.Backend(name)
}

// onBackend is a question about the backend that parameters 0 and 1 name.
func onBackend(do func(c *call, b *Backend) Status) func(*call) Status {
	return func(c *call) Status {
		name := c.short(0, maxBackendText)
		if c.bad {
			return Invalid
		}
		b, ok := c.x.backend(name)
		if !ok {
			return Invalid
		}
		return do(c, &b)
	}
}

func backendExists(c *call) Status {
	_, ok := c.x.backend(c.short(0, maxBackendText))
	c.putBool(2, ok)
	return OK
}

// backendNumber is a question with a number as its answer; false: nobody said.
func backendNumber(of func(b *Backend) (uint32, bool)) func(*call) Status {
	return onBackend(func(c *call, b *Backend) Status {
		n, ok := of(b)
		if !ok {
			return None
		}
		c.put32(2, n)
		return OK
	})
}

func yesNo(yes bool) (uint32, bool) {
	if yes {
		return 1, true
	}
	return 0, true
}

func backendHealth(b *Backend) (uint32, bool)  { return uint32(b.Health), true }
func backendDynamic(b *Backend) (uint32, bool) { return yesNo(b.Dynamic) }
func backendTLS(b *Backend) (uint32, bool)     { return yesNo(b.TLS) }

func backendHost(c *call, b *Backend) Status { return answer(c, 2, b.Host) }

func backendOverrideHost(c *call, b *Backend) Status {
	if b.OverrideHost == "" {
		return None
	}
	return answer(c, 2, b.OverrideHost)
}

func backendPort(c *call, b *Backend) Status {
	c.put16(2, b.Port)
	return OK
}

// tlsVersion is a version as the interface numbers them.
func tlsVersion(v uint8) (uint32, bool) { return uint32(v) - 10, v >= 10 && v <= 13 }

func backendMinTLS(b *Backend) (uint32, bool) { return tlsVersion(b.MinTLS) }
func backendMaxTLS(b *Backend) (uint32, bool) { return tlsVersion(b.MaxTLS) }

func milliseconds(d time.Duration) (uint32, bool) { return uint32(d.Milliseconds()), d > 0 }

func backendConnect(b *Backend) (uint32, bool)      { return milliseconds(b.Connect) }
func backendFirstByte(b *Backend) (uint32, bool)    { return milliseconds(b.FirstByte) }
func backendBetweenBytes(b *Backend) (uint32, bool) { return milliseconds(b.BetweenBytes) }

// backendIdle is 0 where nobody said it: programs in JavaScript have no word for that.
func backendIdle(b *Backend) (uint32, bool) { return uint32(b.Idle.Milliseconds()), true }

func backendKeepAlive(b *Backend) (uint32, bool) { return yesNo(b.KeepAlive != nil) }

// keepAliveNumber is a question about TCP keep-alive.
func keepAliveNumber(of func(k *KeepAlive) uint32) func(*call) Status {
	return backendNumber(func(b *Backend) (uint32, bool) {
		if b.KeepAlive == nil {
			return 0, false
		}
		return of(b.KeepAlive), true
	})
}

func keepAliveInterval(k *KeepAlive) uint32 { return uint32(k.Interval / time.Second) }
func keepAliveTime(k *KeepAlive) uint32     { return uint32(k.Time / time.Second) }
func keepAliveProbes(k *KeepAlive) uint32   { return k.Probes }

// The bits that say which fields of a dynamic backend are meant.
const (
	dynReserved = 1 << iota
	dynHost
	dynConnect
	dynFirstByte
	dynBetweenBytes
	dynTLS
	dynMinTLS
	dynMaxTLS
	dynCertificateHost
	dynCA
	dynCiphers
	dynSNI
	dynNoPool
	dynClientCertificate
	dynHTTP2
	dynKeepAlive
	dynPoolLimits
	dynIPv4
	dynHealthCheck
	dynEnd
)

// dynamicSize is how much of the structure is read for the fields up to a bit.
// Older programs have a shorter structure.
func dynamicSize(mask uint32) int {
	switch {
	case mask&dynHealthCheck != 0:
		return 108
	case mask&dynPoolLimits != 0:
		return 104
	case mask&dynKeepAlive != 0:
		return 92
	}
	return 72
}

// registerBackend makes a dynamic backend, by the node's leave.
func registerBackend(c *call) Status {
	register := c.x.abi.options.Register
	if register == nil {
		return Unsupported
	}
	name, target, mask := c.short(0, maxBackendText), c.short(2, maxBackendText), c.u32(4)
	f := c.record(5, dynamicSize(mask))
	switch {
	case c.bad, name == "", target == "", mask&dynReserved != 0, mask >= dynEnd:
		return Invalid
	case len(c.x.dynamic) >= maxDynamicBackends:
		c.mem.Hit(LimitDynBackends)
		return LimitExceeded
	}
	if _, ok := c.x.backend(name); ok {
		return Failed // a name is given once
	}
	b, status := c.dynamicBackend(f, mask)
	if status != OK {
		return status
	}
	b.Name, b.Target = name, target
	b.said()
	if err := register(c.ctx, b); err != nil {
		return bodyStatus(err)
	}
	if c.x.dynamic == nil {
		c.x.dynamic = map[string]DynamicBackend{}
	}
	c.x.dynamic[name] = b
	return OK
}

// The longest texts of a dynamic backend, in bytes: certificates, a list of
// ciphers, and any other.
const (
	maxCertificates = 512 << 10
	maxCipherList   = 8192
	maxBackendText  = 1024
)

// dynamicBackend reads the structure of a dynamic backend.
func (c *call) dynamicBackend(f fields, mask uint32) (b DynamicBackend, status Status) {
	text := func(bit uint32, offset int) string {
		most := uint32(maxBackendText)
		if bit == dynCiphers {
			most = maxCipherList
		}
		switch n := f.u32(offset + 4); {
		case mask&bit == 0, bit == dynSNI && n == 0:
			return ""
		case n == 0, n > most:
			c.bad = true
			return ""
		}
		return string(c.span(f, offset))
	}
	ms := func(bit uint32, offset int) time.Duration {
		if mask&bit == 0 {
			return 0
		}
		return time.Duration(f.u32(offset)) * time.Millisecond
	}
	version := func(bit uint32, offset int) uint8 {
		if mask&bit == 0 {
			return 0
		}
		v := f.u32(offset)
		c.bad = c.bad || v > 3
		return uint8(10 + v)
	}
	b.Dynamic = true
	b.OverrideHost = text(dynHost, 0)
	b.Connect, b.FirstByte, b.BetweenBytes = ms(dynConnect, 8), ms(dynFirstByte, 12), ms(dynBetweenBytes, 16)
	b.TLS = mask&dynTLS != 0
	b.MinTLS, b.MaxTLS = version(dynMinTLS, 20), version(dynMaxTLS, 24)
	b.CertificateHost, b.SNI = text(dynCertificateHost, 28), text(dynSNI, 52)
	b.NoSNI = mask&dynSNI != 0 && b.SNI == ""
	certificates := func(offset int) []byte {
		if f.u32(offset+4) > maxCertificates {
			c.bad = true
			return nil
		}
		return c.span(f, offset)
	}
	if mask&dynCA != 0 {
		b.CA = certificates(36)
	}
	if list := text(dynCiphers, 44); list != "" {
		b.Ciphers = cipherSuites(list)
	}
	if mask&dynClientCertificate != 0 {
		b.ClientCertificate = certificates(60)
		key, ok := c.x.handles.item(f.u32(68)).(*secret)
		if !ok {
			return b, BadHandle
		}
		b.ClientKey = []byte(key.value)
	}
	b.NoPool, b.HTTP2 = mask&dynNoPool != 0, mask&dynHTTP2 != 0
	if mask&dynKeepAlive != 0 {
		b.Idle = ms(dynKeepAlive, 72)
		if f.u32(76) != 0 {
			b.KeepAlive = &KeepAlive{Interval: seconds(f.u32(80)), Probes: f.u32(84), Time: seconds(f.u32(88))}
		}
	}
	if c.bad {
		return b, Invalid
	}
	return b, OK
}

// What a dynamic backend has where the guest does not say.
const (
	DefaultConnect      = time.Second
	DefaultFirstByte    = 15 * time.Second
	DefaultBetweenBytes = 10 * time.Second
	DefaultIdle         = 10 * time.Minute
)

// defaultKeepAlive is how TCP asks for the other side of a dynamic backend.
var defaultKeepAlive = KeepAlive{Interval: 10 * time.Second, Time: 5 * time.Minute, Probes: 3}

// said fills in what a guest may ask of the backend that it has just made.
func (b *DynamicBackend) said() {
	b.Host, b.Port = b.Target, 80
	if b.TLS {
		b.Port = 443
	}
	if host, port, err := net.SplitHostPort(b.Target); err == nil {
		b.Host = host
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			b.Port = uint16(n)
		}
	}
	b.Connect, b.FirstByte, b.BetweenBytes = cmp.Or(b.Connect, DefaultConnect), cmp.Or(b.FirstByte, DefaultFirstByte), cmp.Or(b.BetweenBytes, DefaultBetweenBytes)
	b.Idle = cmp.Or(b.Idle, DefaultIdle)
	k := &KeepAlive{}
	if b.KeepAlive != nil {
		k = b.KeepAlive
	}
	d := &defaultKeepAlive
	b.KeepAlive = &KeepAlive{Interval: cmp.Or(k.Interval, d.Interval), Time: cmp.Or(k.Time, d.Time), Probes: cmp.Or(k.Probes, d.Probes)}
}

func seconds(n uint32) time.Duration { return time.Duration(n) * time.Second }

// shieldInfo: there are no shields here: nodes of a POP share their work otherwise.
func shieldInfo(c *call) Status {
	c.short(0, maxBackendText)
	return Invalid
}

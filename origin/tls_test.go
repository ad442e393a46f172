package origin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/selvage-edge/selvage"
)

// authority issues certificates, as PEM files in a folder.
type authority struct {
	*testing.T
	folder string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t, folder: t.TempDir()}
	a.issue("ca", nil, true)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.folder, name+".pem") }

// text is what a file holds.
func (a *authority) text(name string) string {
	a.Helper()
	data, err := os.ReadFile(a.file(name))
	if err != nil {
		a.Fatal(err)
	}
	return string(data)
}

// issue writes NAME.pem and NAME-key.pem.
func (a *authority) issue(name string, hosts []string, ca bool) tls.Certificate {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	a.serial++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, h)
		}
	}
	parent, signer := a.cert, a.key
	if ca {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		a.Fatal(err)
	}
	if ca {
		a.key = key
		a.cert, _ = x509.ParseCertificate(der)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	chain, secret := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	os.WriteFile(a.file(name), chain, 0o600)
	os.WriteFile(a.file(name+"-key"), secret, 0o600)
	pair, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		a.Fatal(err)
	}
	return pair
}

// serve starts a real server and says where.
func (a *authority) serve(config *tls.Config, protocols func(*http.Protocols), h http.HandlerFunc) string {
	a.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = new(http.Protocols)
	protocols(s.Config.Protocols)
	s.TLS = config
	if config == nil {
		s.Start()
	} else {
		s.EnableHTTP2 = s.Config.Protocols.HTTP2()
		s.StartTLS()
	}
	a.Cleanup(s.Close)
	return s.URL
}

func onlyHTTP1(p *http.Protocols) { p.SetHTTP1(true) }
func onlyH2(p *http.Protocols)    { p.SetHTTP2(true) }
func onlyH2C(p *http.Protocols)   { p.SetUnencryptedHTTP2(true) }

func hello(w http.ResponseWriter, r *http.Request) {
	who := "nobody"
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		who = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	fmt.Fprintf(w, "%s %s", r.Proto, who)
}

func acquire(t *testing.T, r *Registry, set selvage.Origin) *Pool {
	t.Helper()
	set.Timeout.Connect = selvage.Duration(30 * time.Second) // a busy machine is no failure
	p, err := r.Acquire(selvage.DefaultTenant, "shop", "web", set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Release)
	return p
}

func TestOriginsCertificateIsVerified(t *testing.T) {
	_, _ = x509.SystemCertPool() // the first who needs it reads it, within his deadline
	a := newAuthority(t)
	server := a.issue("server", []string{"127.0.0.1", "web.internal"}, false)
	other := a.issue("other", []string{"other.internal"}, false)
	a.issue("client", nil, false)
	stranger := newAuthority(t)
	stranger.issue("client", nil, false)
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	mutual := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	for _, c := range []struct {
		name   string
		server *tls.Config
		plain  bool // the server speaks no TLS
		set    selvage.OriginTLS
		want   string
		fails  selvage.ProxyErrorType
	}{
		{"trusted", &tls.Config{Certificates: []tls.Certificate{server}}, false, selvage.OriginTLS{CA: a.file("ca")}, "nobody", ""},
		{"not trusted by the system", &tls.Config{Certificates: []tls.Certificate{server}}, false, selvage.OriginTLS{}, "", selvage.TLSCertificateError},
		{"by another authority", &tls.Config{Certificates: []tls.Certificate{server}}, false, selvage.OriginTLS{CA: stranger.file("ca")}, "", selvage.TLSCertificateError},
		{"of another name", &tls.Config{Certificates: []tls.Certificate{other}}, false, selvage.OriginTLS{CA: a.file("ca")}, "", selvage.TLSCertificateError},
		{"of the name that is expected", &tls.Config{Certificates: []tls.Certificate{other}}, false, selvage.OriginTLS{CA: a.file("ca"), ServerName: "other.internal"}, "nobody", ""},
		{"of a name that is not", &tls.Config{Certificates: []tls.Certificate{server}}, false, selvage.OriginTLS{CA: a.file("ca"), ServerName: "other.internal"}, "", selvage.TLSCertificateError},
		{"with our certificate", mutual, false, selvage.OriginTLS{CA: a.file("ca"), Certificate: a.file("client"), Key: a.file("client-key")}, "client", ""},
		{"without our certificate", mutual, false, selvage.OriginTLS{CA: a.file("ca")}, "", selvage.TLSProtocolError},
		{"without it, in TLS 1.2", mutual12, false, selvage.OriginTLS{CA: a.file("ca")}, "", selvage.TLSProtocolError},
		{"with the key itself", mutual, false, selvage.OriginTLS{CA: a.file("ca"), Certificate: a.file("client"), Key: a.text("client-key")}, "client", ""},
		{"with one that is not wanted", mutual, false, selvage.OriginTLS{CA: a.file("ca"), Certificate: stranger.file("client"), Key: stranger.file("client-key")}, "", selvage.TLSProtocolError},
		{"no TLS at all", nil, true, selvage.OriginTLS{CA: a.file("ca")}, "", selvage.TLSProtocolError},
		{"too old", &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, false, selvage.OriginTLS{CA: a.file("ca")}, "", selvage.TLSProtocolError},
	} {
		for _, protocol := range []selvage.Protocol{selvage.HTTP1, selvage.H2} {
			t.Run(c.name+" "+string(protocol), func(t *testing.T) {
				if protocol == selvage.H2 && c.server != nil && c.server.MaxVersion == tls.VersionTLS12 {
					t.Skip("the server's h2 would need other ciphers")
				}
				speaks, proto := onlyHTTP1, "HTTP/1.1"
				if protocol == selvage.H2 && !c.plain {
					speaks, proto = onlyH2, "HTTP/2.0"
				}
				url := a.serve(c.server.Clone(), speaks, hello)
				set := standard(strings.Replace(url, "http://", "https://", 1))
				set.TLS, set.Protocol, set.Retry.Attempts = c.set, protocol, 1
				p := acquire(t, new(Registry), set)
				got, _, err := ask(p, "GET", "")
				if e, ok := errors.AsType[*selvage.ProxyError](err); ok && e.Type == selvage.ConnectionTerminated && c.server != nil && c.server.ClientAuth != 0 && protocol == selvage.H2 {
					return // an alert after the handshake is told by net/http only if it comes before the first write fails
				}
				if c.fails != "" {
					wantType(t, err, c.fails)
					return
				}
				if want := "200 OK " + proto + " " + c.want; err != nil || got != want {
					t.Errorf("got %q, %v; want %q", got, err, want)
				}
			})
		}
	}
}

func TestTLSFilesAreChecked(t *testing.T) {
	a := newAuthority(t)
	a.issue("client", nil, false)
	a.issue("other", nil, false)
	os.WriteFile(a.file("empty"), []byte("nothing"), 0o600)
	for _, c := range []struct {
		name string
		set  selvage.OriginTLS
		want string
	}{
		{"missing authority", selvage.OriginTLS{CA: "/nonexistent.pem"}, `read tls.ca: open /nonexistent.pem: no such file or directory`},
		{"empty authority", selvage.OriginTLS{CA: a.file("empty")}, `read tls.ca: ` + a.file("empty") + ` holds no certificate in PEM form`},
		{"missing certificate", selvage.OriginTLS{Certificate: "/nonexistent.pem", Key: a.file("client-key")}, `read tls.certificate: open /nonexistent.pem: no such file or directory`},
		{"missing key", selvage.OriginTLS{Certificate: a.file("client"), Key: "/nonexistent.key"}, `read tls.key: open /nonexistent.key: no such file or directory`},
		{"no key", selvage.OriginTLS{Certificate: a.file("client")}, `tls.certificate and tls.key belong together: one of them is missing`},
		{"another's key", selvage.OriginTLS{Certificate: a.file("client"), Key: a.file("other-key")}, `read tls.certificate ` + a.file("client") + ` with tls.key ` + a.file("other-key") + `: tls: private key does not match public key`},
	} {
		set := standard("https://10.0.0.1")
		set.TLS = c.set
		_, err := new(Registry).Acquire(selvage.DefaultTenant, "shop", "web", set)
		if err == nil || err.Error() != c.want || selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("%s: %v; want %s", c.name, err, c.want)
		}
	}
}

func TestWrongEndpointsAreRefused(t *testing.T) {
	for endpoint, want := range map[string]string{
		"10.0.0.1:80":         "first path segment in URL cannot contain colon",
		"ftp://10.0.0.1":      "it must begin with http:// or https://",
		"http://":             "it has no host",
		"http://a.example/x":  "it is more than a scheme, a host and a port",
		"http://u@a.example":  "it is more than a scheme, a host and a port",
		"http://a.example?x":  "it is more than a scheme, a host and a port",
		"http://a.example:0":  `"0" is not a port`,
		"http://a.example:x":  "invalid port",
		"http://a.example:1x": "invalid port",
	} {
		_, err := new(Registry).Acquire(selvage.DefaultTenant, "shop", "web", standard(endpoint))
		if err == nil || !strings.Contains(err.Error(), want) || selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("%s: %v; want %s", endpoint, err, want)
		}
	}
	for _, set := range []selvage.Origin{
		{}, {Folder: "/nonexistent"}, {Folder: "/dev/null"}, {Folder: ".", Endpoints: []string{"http://10.0.0.1"}},
		{Endpoints: []string{"http://10.0.0.1"}, Protocol: selvage.H2}, {Endpoints: []string{"https://10.0.0.1"}, Protocol: selvage.H2C},
	} {
		if _, err := new(Registry).Acquire(selvage.DefaultTenant, "shop", "web", set); selvage.KindOf(err) != selvage.Invalid || err == nil {
			t.Errorf("%+v: %v; want it refused", set, err)
		}
	}
}

func TestNewCertificateMakesNewConnections(t *testing.T) {
	a := newAuthority(t)
	server := a.issue("server", []string{"127.0.0.1"}, false)
	a.issue("client", nil, false)
	url := a.serve(&tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequestClientCert}, onlyHTTP1, hello)
	set := standard(url)
	set.TLS = selvage.OriginTLS{CA: a.file("ca"), Certificate: a.file("client"), Key: a.file("client-key")}
	r := new(Registry)
	before := acquire(t, r, set)
	if acquire(t, r, set) != before {
		t.Error("the same files gave another pool")
	}
	a.issue("renewed", nil, false)
	for from, to := range map[string]string{"renewed": "client", "renewed-key": "client-key"} {
		if err := os.Rename(a.file(from), a.file(to)); err != nil {
			t.Fatal(err)
		}
	}
	after := acquire(t, r, set)
	for p, want := range map[*Pool]string{before: "200 OK HTTP/1.1 client", after: "200 OK HTTP/1.1 renewed"} {
		if got, _, err := ask(p, "GET", ""); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

// overH2 is a server and a pool that speak HTTP/2, with TLS and without.
func overH2(t *testing.T, change func(*selvage.Origin), h http.HandlerFunc, f func(t *testing.T, p *Pool)) {
	a := newAuthority(t)
	server := a.issue("server", []string{"127.0.0.1"}, false)
	for _, protocol := range []selvage.Protocol{selvage.H2, selvage.H2C} {
		t.Run(string(protocol), func(t *testing.T) {
			a := &authority{T: t, folder: a.folder, cert: a.cert, key: a.key}
			var url string
			if protocol == selvage.H2 {
				url = a.serve(&tls.Config{Certificates: []tls.Certificate{server}}, onlyH2, h)
			} else {
				url = a.serve(nil, onlyH2C, h)
			}
			set := standard(url)
			set.Protocol, set.TLS.CA = protocol, a.file("ca")
			if change != nil {
				change(&set)
			}
			f(t, acquire(t, new(Registry), set))
		})
	}
}

func TestH2CarriesRequests(t *testing.T) {
	var got *http.Request
	overH2(t, nil, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "Grpc-Status")
		fmt.Fprintf(w, "%s %s %s", r.Proto, body, r.Trailer.Get("X-Sum"))
		w.Header().Set("Grpc-Status", "0")
	}, func(t *testing.T, p *Pool) {
		req, _ := http.NewRequest("POST", "http://shop.example/path?q=1", io.NopCloser(strings.NewReader("body")))
		req.Trailer = http.Header{"X-Sum": {"7"}}
		req.Header.Set("TE", "trailers")
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != "HTTP/2.0 body 7" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("got %q, %v, trailer %v", body, err, resp.Trailer)
		}
		resp.Body.Close()
		if got.Host != "shop.example" || got.RequestURI != "/path?q=1" || got.Header["User-Agent"] != nil || got.Header["Accept-Encoding"] != nil {
			t.Errorf("the origin saw %s %s %v; want no more than was asked", got.Host, got.RequestURI, got.Header)
		}
		_, rec, err := ask(p, "GET", "")
		if s := p.Status()[0]; err != nil || s.Connections != 1 || s.InFlight != 0 || !rec.Origin.Kept()[0].Reused {
			t.Errorf("status %+v, %v, reused %v; want one connection, used again", s, err, rec.Origin.Kept()[0].Reused)
		}
	})
}

func TestH2FailuresHaveTheirType(t *testing.T) {
	for _, c := range []struct {
		name string
		h    http.HandlerFunc
		want selvage.ProxyErrorType
	}{
		{"no head in time", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, selvage.ResponseTimeout},
		{"body stops", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, selvage.ResponseTimeout},
		{"stream reset before the head", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, selvage.ResponseProtocolError},
		{"stream reset in the body", func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte("half"))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, selvage.ResponseIncomplete},
		{"head too large", func(w http.ResponseWriter, _ *http.Request) {
			for i := range 70 { // beyond twice the limit the whole connection ends
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
			}
		}, selvage.ResponseHeadTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			short := func(set *selvage.Origin) {
				set.Retry.Attempts = 1
				switch c.name {
				case "no head in time":
					set.Timeout.FirstByte = selvage.Duration(50 * time.Millisecond)
				case "body stops":
					set.Timeout.Idle = selvage.Duration(50 * time.Millisecond)
				}
			}
			overH2(t, short, c.h, func(t *testing.T, p *Pool) {
				_, _, err := ask(p, "GET", "")
				wantType(t, err, c.want)
				if s := p.Status()[0]; s.InFlight != 0 || s.LastError == "" {
					t.Errorf("status %+v; want the error, and nothing in flight", s)
				}
			})
		})
	}
	t.Run("an upgrade", func(t *testing.T) {
		overH2(t, nil, hello, func(t *testing.T, p *Pool) {
			req, _ := http.NewRequest("GET", "http://shop.example/", nil)
			req.Header.Set("Upgrade", "websocket")
			_, err := p.RoundTrip(req)
			wantType(t, err, selvage.UpgradeFailed)
			if s := p.Status()[0]; s.LastError != "" {
				t.Errorf("the endpoint is blamed for what the client asked: %s", s.LastError)
			}
		})
	})
	t.Run("the other protocol", func(t *testing.T) {
		a := newAuthority(t)
		server := a.issue("server", []string{"127.0.0.1"}, false)
		set := standard(a.serve(&tls.Config{Certificates: []tls.Certificate{server}, NextProtos: nil}, onlyHTTP1, hello))
		set.Protocol, set.TLS.CA, set.Retry.Attempts = selvage.H2, a.file("ca"), 1
		_, _, err := ask(acquire(t, new(Registry), set), "GET", "")
		wantType(t, err, selvage.TLSProtocolError)
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		set := standard("http://" + l.Addr().String())
		set.Protocol, set.Retry.Attempts = selvage.H2C, 1
		_, _, err = ask(acquire(t, new(Registry), set), "GET", "")
		wantType(t, err, selvage.ConnectionRefused)
	})
}

func TestH2RetriesRepeatTheBody(t *testing.T) {
	var asked atomic.Int64
	overH2(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if asked.Add(1)%2 == 1 {
			w.WriteHeader(503)
			return
		}
		w.Write(body)
	}, func(t *testing.T, p *Pool) {
		for range 3 {
			if got, _, err := ask(p, "PUT", "order"); err != nil || got != "200 OK order" {
				t.Errorf("got %q, %v; want 200 OK order", got, err)
			}
		}
	})
}

func TestBrokenUploadIsNotTheH2OriginsFault(t *testing.T) {
	overH2(t, nil, func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }, func(t *testing.T, p *Pool) {
		half := &selvage.ProxyError{Type: selvage.RequestError, Err: errors.New("malformed chunk")}
		req, _ := http.NewRequest("POST", "http://shop.example/", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(half)))
		_, err := p.RoundTrip(req)
		wantType(t, err, selvage.RequestError)
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %s", s.LastError)
		}
	})
}

func TestHeadBeyondTheH2OriginsLimitIsTheClients(t *testing.T) {
	overH2(t, nil, hello, func(t *testing.T, p *Pool) {
		if _, _, err := ask(p, "GET", ""); err != nil { // now the limit is known: net/http's is 1 MiB
			t.Fatal(err)
		}
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		req.Header.Set("X", strings.Repeat("x", 2<<20))
		_, err := p.RoundTrip(req)
		wantType(t, err, selvage.RequestError)
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %s", s.LastError)
		}
	})
}

func TestClientsEndReachesTheH2Origin(t *testing.T) {
	gone := make(chan bool, 1)
	overH2(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		gone <- true
	}, func(t *testing.T, p *Pool) {
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		<-gone
		if s := p.Status()[0]; s.LastError != "" || s.InFlight != 0 {
			t.Errorf("the endpoint is blamed: %+v", s)
		}
	})
}

func TestH2ConnectionsAreBounded(t *testing.T) {
	e := &endpoint{reg: &Registry{}, endpointPlan: endpointPlan{key: endpointKey{conns: selvage.OriginConnections{Max: 1}, connect: selvage.Duration(20 * time.Millisecond)}}}
	var limits []string
	e.reg.OnLimit = func(limit string) { limits = append(limits, limit) }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tr := newH2Transport(e, l.Addr().String())
	first, err := tr.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tr.dial(t.Context())
	if p, ok := errors.AsType[*selvage.ProxyError](err); !ok || p.Type != selvage.ConnectionLimit || len(limits) != 1 {
		t.Errorf("second connection: %v, limits %v; want the limit", err, limits)
	}
	first.Close()
	first.Close()
	if tr.Open() != 0 {
		t.Errorf("%d are open; want 0", tr.Open())
	}
	again, err := tr.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestRealRefusalIsRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	set := standard("http://" + l.Addr().String())
	_, rec, err := ask(acquire(t, new(Registry), set), "POST", "order")
	wantType(t, err, selvage.ConnectionRefused)
	if rec.Origin.Attempts != 3 {
		t.Errorf("%d attempts; want 3: nothing was sent", rec.Origin.Attempts)
	}
}

func TestConnectionIsNotedAsReused(t *testing.T) {
	a := &authority{T: t}
	p := acquire(t, new(Registry), standard(a.serve(nil, onlyHTTP1, hello)))
	for i := range 3 {
		_, rec, err := ask(p, "GET", "")
		if err != nil || rec.Origin.Kept()[0].Reused != (i > 0) {
			t.Errorf("request %d: reused %v, %v", i, rec.Origin.Kept()[0].Reused, err)
		}
	}
	if s := p.Status()[0]; s.Connections != 1 {
		t.Errorf("%d connections; want 1", s.Connections)
	}
}

func TestAnswerWithoutALengthThatIsCutUnderTLSIsNotWhole(t *testing.T) {
	a := newAuthority(t)
	server := a.issue("server", []string{"127.0.0.1"}, false)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s cut %t", tls.VersionName(version), cut), func(t *testing.T) {
				config := &tls.Config{Certificates: []tls.Certificate{server}, MaxVersion: version}
				url := a.serve(config, onlyHTTP1, func(w http.ResponseWriter, _ *http.Request) {
					c, _, err := http.NewResponseController(w).Hijack()
					if err != nil {
						t.Error(err)
						return
					}
					io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf")
					if cut {
						c.(*tls.Conn).NetConn().Close()
						return
					}
					c.Close()
				})
				set := standard(url)
				set.TLS, set.Protocol, set.Retry.Attempts = selvage.OriginTLS{CA: a.file("ca")}, selvage.HTTP1, 1
				got, _, err := ask(acquire(t, new(Registry), set), "GET", "")
				if cut {
					wantType(t, err, selvage.ResponseIncomplete)
				} else if err != nil {
					t.Error(err)
				}
				if got != "200 OK half" {
					t.Errorf("got %q", got)
				}
			})
		}
	}
}

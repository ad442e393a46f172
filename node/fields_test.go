package node

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

func prefixes(t testing.TB, list ...string) []selvage.Prefix {
	t.Helper()
	out := make([]selvage.Prefix, len(list))
	for i, s := range list {
		if err := out[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestOnlyTrustedProxiesAreBelieved(t *testing.T) {
	trust := prefixes(t, "10.0.0.0/8", "2001:db8::/32")
	for _, tt := range []struct {
		name, peer string
		header     http.Header
		want       string
		trusted    bool
	}{
		{"a stranger's words count for nothing", "192.0.2.1", http.Header{"X-Forwarded-For": {"198.51.100.7"}}, "192.0.2.1", false},
		{"a proxy without words is the client", "10.0.0.1", nil, "10.0.0.1", true},
		{"the nearest untrusted hop is the client", "10.0.0.1", http.Header{"X-Forwarded-For": {"203.0.113.9, 198.51.100.7, 10.0.0.2"}}, "198.51.100.7", true},
		{"repeated fields are one list", "10.0.0.1", http.Header{"X-Forwarded-For": {"203.0.113.9", "198.51.100.7"}}, "198.51.100.7", true},
		{"all trusted: the outermost", "10.0.0.1", http.Header{"X-Forwarded-For": {"10.0.0.3, 10.0.0.2"}}, "10.0.0.3", true},
		{"rubbish ends the walk", "10.0.0.1", http.Header{"X-Forwarded-For": {"198.51.100.7, rubbish, 10.0.0.2"}}, "10.0.0.2", true},
		{"forwarded", "10.0.0.1", http.Header{"Forwarded": {`for=203.0.113.9;proto=https, for="198.51.100.7:4711"`}}, "198.51.100.7", true},
		{"forwarded in version 6", "10.0.0.1", http.Header{"Forwarded": {`For="[2001:DB9::7]:4711"`}}, "2001:db9::7", true},
		{"a hop that hides ends the walk", "10.0.0.1", http.Header{"Forwarded": {`for=198.51.100.7, for=_hidden`}}, "10.0.0.1", true},
		{"a quoted comma is no end of an element", "10.0.0.1", http.Header{"Forwarded": {`host="a,for=1.2.3.4";for=198.51.100.7`}}, "198.51.100.7", true},
		{"both, agreeing", "10.0.0.1", http.Header{"X-Forwarded-For": {"198.51.100.7"}, "Forwarded": {"for=198.51.100.7"}}, "198.51.100.7", true},
		{"both, disagreeing: one was written by the client", "10.0.0.1", http.Header{"X-Forwarded-For": {"203.0.113.9"}, "Forwarded": {"for=198.51.100.7"}}, "10.0.0.1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := whoAsks(netip.MustParseAddr(tt.peer), tt.header, trust)
			if got.client.String() != tt.want || got.trusted != tt.trusted {
				t.Errorf("got %v, want %s, trusted %v", got, tt.want, tt.trusted)
			}
		})
	}
}

func TestForwardedIsReplacedUnlessThePeerIsTrusted(t *testing.T) {
	peer := netip.MustParseAddr("2001:db9::1")
	lie := http.Header{
		"X-Forwarded-For": {"1.1.1.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"},
		"X-Real-Ip": {"1.1.1.1"}, "X-Forwarded-Port": {"1"}, "Forwarded": {"for=1.1.1.1"},
	}
	h := lie.Clone()
	forwarded(h, party{client: peer}, peer, "shop.example:8080", false)
	want := http.Header{
		"X-Forwarded-For": {"2001:db9::1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"shop.example:8080"},
		"Forwarded": {`for="[2001:db9::1]";host="shop.example:8080";proto=http`},
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Errorf("stranger (-want +got):\n%s", d)
	}
	h = lie.Clone()
	forwarded(h, party{client: peer, trusted: true}, peer, "shop.example", true)
	want = http.Header{
		"X-Forwarded-For": {"1.1.1.1, 2001:db9::1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil"},
		"X-Real-Ip": {"1.1.1.1"}, "X-Forwarded-Port": {"1"},
		"Forwarded": {`for=1.1.1.1, for="[2001:db9::1]";host="shop.example";proto=https`},
	}
	if d := cmp.Diff(want, h); d != "" {
		t.Errorf("trusted (-want +got):\n%s", d)
	}
}

// Where no certificate of the client was believed an origin must not be told of one.
func TestTheClientsCertificateIsToldByNobodyElse(t *testing.T) {
	peer := netip.MustParseAddr("2001:db9::1")
	cert := &x509.Certificate{Raw: []byte("certificate")}
	believed := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	for name, tt := range map[string]struct {
		who   party
		state *tls.ConnectionState
		want  []string
	}{
		"a stranger's words":             {party{client: peer}, nil, nil},
		"a stranger without a name":      {party{client: peer}, &tls.ConnectionState{}, nil},
		"one that is not believed":       {party{client: peer}, &tls.ConnectionState{PeerCertificates: believed.PeerCertificates}, nil},
		"one that is believed":           {party{client: peer}, believed, []string{":Y2VydGlmaWNhdGU=:"}},
		"what a trusted proxy has seen":  {party{client: peer, trusted: true}, believed, []string{":bGll:"}},
		"the same without a certificate": {party{client: peer, trusted: true}, nil, []string{":bGll:"}},
	} {
		h := http.Header{"Client-Cert": {":bGll:"}, "Client-Cert-Chain": {":bGll:"}}
		forwarded(h, tt.who, peer, "shop.example", true)
		tellCertificate(h, tt.state)
		if got := h["Client-Cert"]; !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		if got := h["Client-Cert-Chain"]; len(got) > 0 != tt.who.trusted {
			t.Errorf("%s: chain %q", name, got)
		}
	}
}

func TestHopByHopFieldsGo(t *testing.T) {
	h := http.Header{
		"Connection": {"X-Secret, keep-alive", "x-other"}, "X-Secret": {"1"}, "X-Other": {"1"}, "Keep-Alive": {"timeout=5"},
		"Te": {"trailers"}, "Upgrade": {"h2c"}, "Proxy-Authorization": {"Basic x"}, "Proxy-Connection": {"close"},
		"Transfer-Encoding": {"chunked"}, "Trailer": {"X"}, "Proxy-Authenticate": {"x"}, "Accept": {"*/*"}, "Content_Length": {"3"},
	}
	dropHopByHop(h)
	dropAmbiguous(h)
	if d := cmp.Diff(http.Header{"Accept": {"*/*"}}, h); d != "" {
		t.Errorf("left over (-want +got):\n%s", d)
	}
}

func TestLoopIsFoundByNameAndByNumber(t *testing.T) {
	for _, tt := range []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{"other; node=\"ams-1\""}, false},
		{[]string{"selvage; node=\"fra-1\""}, false},
		{[]string{"selvage"}, false},
		{[]string{"fastly, selvage ; node=\"ams-1\""}, true},
		{[]string{"a", "selvage; node=\"ams-1\""}, true},
		{[]string{strings.Repeat("selvage; node=\"x\", ", maxHops) + "other"}, false},
		{[]string{strings.Repeat("selvage; node=\"x\", ", maxHops+1) + "other"}, true},
	} {
		if got := looped(tt.values, "ams-1"); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestMaxForwardsIsCountedDown(t *testing.T) {
	for _, tt := range []struct {
		in   []string
		last bool
		left string
	}{
		{nil, false, ""}, {[]string{"0"}, true, "0"}, {[]string{"1"}, false, "0"}, {[]string{"10"}, false, "9"},
		{[]string{"rubbish"}, false, "rubbish"}, {[]string{"-1"}, false, "-1"},
	} {
		h := http.Header{}
		if tt.in != nil {
			h["Max-Forwards"] = tt.in
		}
		if got := lastHop(h); got != tt.last || h.Get("Max-Forwards") != tt.left {
			t.Errorf("%q: got %v and %q left, want %v and %q", tt.in, got, h.Get("Max-Forwards"), tt.last, tt.left)
		}
	}
}

// FuzzForwarded: whatever stands in the fields, the client's address is the
// peer's or one that stands in them, and nothing panics.
func FuzzForwarded(f *testing.F) {
	f.Add("1.2.3.4, 10.0.0.1", `for="[2001:db8::1]:80";by=x, for=unknown`)
	f.Add(`"`, `for="\`)
	trust := prefixes(f, "10.0.0.0/8")
	peer := netip.MustParseAddr("10.9.9.9")
	f.Fuzz(func(t *testing.T, xff, fwd string) {
		for _, h := range []http.Header{{"X-Forwarded-For": {xff}}, {"Forwarded": {fwd}}, {"X-Forwarded-For": {xff}, "Forwarded": {fwd}}} {
			got := whoAsks(peer, h, trust)
			if !got.client.IsValid() || !got.trusted {
				t.Fatalf("%v: got %v", h, got)
			}
			if got.client != peer && xff == "" && fwd == "" {
				t.Fatalf("%v: client %v from nothing", h, got.client)
			}
		}
	})
}

func TestTrailersSayNothingThatTheHeaderMayNot(t *testing.T) {
	trailer := http.Header{"Checksum": {"1"}, "X-Forwarded-Port": {"1"}, "X_user": {"root"}, "X-Plan": {"large"}, "Proxy": {"http://x"}}
	dropFromTrailer(trailer, http.Header{"X-Plan": {"small"}})
	if diff := cmp.Diff(http.Header{"Checksum": {"1"}}, trailer); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

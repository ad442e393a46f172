package node

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/rollout"
)

const cookied = `service: test
hosts: ["*"]
client_cookie: {max_age: 24h}
origins: {web: {endpoints: [http://one]}}
routes:
  - {match: {path: /p/*}, origin: web, cache: {ttl: 60s}}
  - {match: {path: /*}, origin: web}
`

// ownPages answers for one alone, but for /p/ and /open.
func ownPages(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/p/") && r.URL.Path != "/open" && r.Method == http.MethodGet {
		w.Header().Set("Cache-Control", "private, max-age=5")
	}
	w.Header().Set("X-Cookie", r.Header.Get("Cookie"))
	_, _ = w.Write([]byte("page"))
}

// withRevision is the service with a name in its answers.
func withRevision(name string) string {
	return strings.ReplaceAll(cookied, "origin: web", "origin: web, headers: {response: {set: {X-Revision: "+name+"}}}")
}

// from asks for a path from an address, with the cookies that are given.
func (b *bed) from(addr netip.Addr, target string, cookies ...string) *http.Response {
	b.t.Helper()
	return b.send(http.MethodGet, addr, target, http.Header{"Cookie": cookies})
}

func (b *bed) send(method string, addr netip.Addr, target string, h http.Header) *http.Response {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = "http://203.0.113.1" + target
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, target, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for name, values := range h {
		if len(values) > 0 {
			r.Header[name] = values
		}
	}
	r.Header.Set("X-Forwarded-For", addr.String())
	res, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// trust lets the test say from which address it comes.
func (b *bed) trust(n *Node) {
	set := *n.settings()
	set.TrustedProxies = []selvage.Prefix{{Prefix: netip.MustParsePrefix("0.0.0.0/0")}}
	n.set.Store(&set)
}

// half gives half of the units of a node another revision.
func (b *bed) half(n *Node, change selvage.ChangeID, secret byte) {
	b.t.Helper()
	s := parse(b.t, withRevision("new"))
	if err := n.Prepare(b.t.Context(), rollout.Revision{ID: "new", Tenant: selvage.DefaultTenant, Service: s}); err != nil {
		b.t.Fatal(err)
	}
	if err := n.Serve("test", rollout.Arms{Change: change, Canary: "new", Share: 0.5, Secret: [16]byte{secret}}, nil); err != nil {
		b.t.Fatal(err)
	}
}

// another runs a second node with the same state, at port 81, while test runs.
func (b *bed) another(test func(*Node)) {
	b.t.Helper()
	n, err := New(Options{
		Config: selvage.Config{
			Node: selvage.Node{
				Name: "edge-2", AccessLog: "off", Listen: []selvage.Listener{{Address: ":81"}}, Cache: selvage.NodeCache{Memory: 8 << 20},
			},
			Services: []selvage.Service{parse(b.t, withRevision("old"))},
		},
		State: &b.node.state, Listen: b.network.Listen, Dial: b.network.Dial, Resolve: b.network.Resolve,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	test(n)
	stop()
	if err := <-ended; err != nil {
		b.t.Error(err)
	}
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) }

// cookieIn is the cookie that an answer gives, empty for none.
func cookieIn(res *http.Response) string {
	if all := res.Cookies(); len(all) > 0 {
		return all[0].Name + "=" + all[0].Value
	}
	return ""
}

func TestAClientWithACookieKeepsItsArmOnEveryNodeAndAtEveryAddress(t *testing.T) {
	serve(t, withRevision("old"), ownPages, func(b *bed) {
		b.another(func(second *Node) {
			synctest.Wait()
			for _, n := range []*Node{b.node, second} {
				b.trust(n)
				b.half(n, "c-1", 7)
			}
			arms := map[string]int{}
			for i := range 40 {
				first := b.from(addrOf(i), "/cart")
				cookie, arm := cookieIn(first), first.Header.Get("X-Revision")
				if cookie == "" {
					t.Fatalf("a private answer gives no cookie: %v", first.Header)
				}
				arms[arm]++
				for j := range 20 {
					at := fmt.Sprintf("http://203.0.113.1:%d/cart", 80+j%2)
					again := b.from(addrOf(100+j), at, "a=1; "+cookie)
					if got := again.Header.Get("X-Revision"); got != arm || cookieIn(again) != "" {
						t.Fatalf("client %d is on %q, and with its cookie at another address on %q; given: %q", i, arm, got, cookieIn(again))
					}
					if got := again.Header.Get("X-Cookie"); got != "a=1" {
						t.Fatalf("the origin sees %q", got)
					}
				}
			}
			if arms["old"] < 5 || arms["new"] < 5 {
				t.Errorf("of 40 clients: %v", arms)
			}
		})
	})
}

func TestNobodyChoosesAnArmByPickingCookies(t *testing.T) {
	serve(t, withRevision("old"), ownPages, func(b *bed) {
		synctest.Wait()
		b.trust(b.node)
		me := addrOf(1)
		var mine []string
		for range 30 { // collected before the rollout
			mine = append(mine, cookieIn(b.from(me, "/cart")))
			time.Sleep(time.Second)
		}
		for secret := range byte(6) {
			b.half(b.node, selvage.ChangeID(fmt.Sprintf("c-%d", secret+1)), secret)
			arm := b.from(me, "/cart").Header.Get("X-Revision")
			for range 10 { // and in it
				mine = append(mine, cookieIn(b.from(me, "/cart")))
			}
			for _, cookie := range mine {
				if got := b.from(me, "/cart", cookie).Header.Get("X-Revision"); got != arm {
					t.Fatalf("at its address %q is served, with one of its %d cookies %q", arm, len(mine), got)
				}
			}
		}
	})
}

func TestAForgedCookieIsIgnored(t *testing.T) {
	serve(t, withRevision("old"), ownPages, func(b *bed) {
		synctest.Wait()
		b.trust(b.node)
		b.half(b.node, "c-1", 3)
		here, there := addrOf(1), addrOf(2)
		arm := func(res *http.Response) string { return res.Header.Get("X-Revision") }
		for i := 2; arm(b.from(there, "/cart")) == arm(b.from(here, "/cart")); i++ {
			there = addrOf(i)
		}
		good := cookieIn(b.from(there, "/cart"))
		forged := []string{"selvage-client=", good + "A", good[:len(good)-1], strings.Repeat("x", 3000), "selvage-client=" + strings.Repeat("A", 48)}
		for i := len("selvage-client="); i < len(good); i++ {
			other := byte('A')
			if good[i] == other {
				other = 'B'
			}
			forged = append(forged, good[:i]+string(other)+good[i+1:])
		}
		want := arm(b.from(here, "/cart"))
		for _, cookie := range forged {
			res := b.from(here, "/cart", cookie)
			if arm(res) != want || cookieIn(res) == "" {
				t.Errorf("with %q: %q is served, want what its address gets, %q, and a good cookie", cookie, arm(res), want)
			}
		}
		if got := arm(b.from(here, "/cart", "selvage-client=forged; "+good)); got == want {
			t.Error("a good cookie behind a bad one is not seen")
		}
		time.Sleep(24*time.Hour + time.Second)
		if got := b.from(here, "/cart", good); arm(got) != want || cookieIn(got) == "" {
			t.Error("a cookie is good for longer than the service says")
		}
	})
}

func TestAnAnswerThatOthersMayGetHasNoCookie(t *testing.T) {
	serve(t, withRevision("old"), ownPages, func(b *bed) {
		synctest.Wait()
		b.trust(b.node)
		for _, path := range []string{"/open", "/p/1", "/p/1"} {
			if got := cookieIn(b.from(addrOf(1), path)); got != "" {
				t.Errorf("%s gives %q", path, got)
			}
		}
		post := b.send(http.MethodPost, addrOf(1), "/open", http.Header{"X-Forwarded-Proto": {"https"}})
		if c := post.Cookies(); len(c) != 1 || !c[0].Secure || !c[0].HttpOnly || c[0].MaxAge != 86400 {
			t.Errorf("an answer to POST over TLS gives %v", post.Header["Set-Cookie"])
		}
		synctest.Wait() // what was fetched is stored behind its answer
		// The cookie tells no stored answers apart, and makes none private.
		res := b.from(addrOf(2), "/p/1", cookieIn(post))
		if got := res.Header.Get("Cache-Status"); !strings.Contains(got, "hit") {
			t.Errorf("with a cookie: %q", got)
		}
		if res = b.from(addrOf(2), "/p/2", cookieIn(post)); !strings.Contains(res.Header.Get("Cache-Status"), "stored") {
			t.Errorf("with a cookie: %q", res.Header.Get("Cache-Status"))
		}
	})
}

// FuzzTakeCookie: nothing of ours stays in the request, and all others do, in their order.
func FuzzTakeCookie(f *testing.F) {
	f.Add("a=1; selvage-client=x; b=2")
	f.Add(";;selvage-client=; =;selvage-client")
	s := &served{cookie: &selvage.ClientCookie{Name: "selvage-client"}}
	f.Fuzz(func(t *testing.T, line string) {
		pairs := func(lines []string) (ours, others []string) {
			for pair := range strings.SplitSeq(strings.Join(lines, ";"), ";") {
				switch pair = strings.Trim(pair, " \t"); {
				case strings.HasPrefix(pair, "selvage-client="):
					ours = append(ours, pair)
				case pair != "":
					others = append(others, pair)
				}
			}
			return ours, others
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cookie"] = []string{line}
		ours, others := pairs(r.Header["Cookie"])
		x := exchange{r: r, served: s}
		x.takeCookie()
		left, after := pairs(r.Header["Cookie"])
		if len(left) > 0 || !slices.Equal(others, after) || len(x.ticket.offered) != min(len(ours), maxOffered) {
			t.Errorf("of %q stays %q, %d were taken", line, r.Header["Cookie"], len(x.ticket.offered))
		}
	})
}

// FuzzOpenSeal: what opens is what was closed, for the same purpose alone.
func FuzzOpenSeal(f *testing.F) {
	s, err := newSeal(make([]byte, sealKeySize))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("client", s.close("client", make([]byte, 20)))
	f.Add("pass", s.close("client", make([]byte, 20)))
	f.Fuzz(func(t *testing.T, what, closed string) {
		if text, ok := s.open(what, closed, 20); ok && s.close(what, text) != closed {
			t.Errorf("%q opens as %x", closed, text)
		}
		if _, ok := s.open(what+".", s.close(what, []byte(closed)), len(closed)); ok {
			t.Errorf("what was closed for %q opens for another purpose", what)
		}
	})
}

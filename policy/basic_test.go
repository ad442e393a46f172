package policy

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/bcrypt"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// secretHash is of the password "secret", at the least cost.
var secretHash = func() string {
	h, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(h)
}()

func protected(t testing.TB, p *Passwords, users map[string]string) *Chain {
	t.Helper()
	c, err := Compile(Scope{Passwords: p}, selvage.Route{Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{Realm: `a "b" \c`, Users: users}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBasicAuth(t *testing.T) {
	p := new(Passwords)
	c := protected(t, p, map[string]string{"ann": secretHash, "bob": strings.Replace(secretHash, "$2a$", "$2y$", 1)})
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, tt := range []struct {
		fields []string
		want   int
	}{
		{[]string{"Authorization", basic("ann:secret")}, 0},
		{[]string{"Authorization", "bAsIc  " + basic("bob:secret")[6:]}, 0},
		{[]string{"Authorization", basic("ann:wrong")}, 401},
		{[]string{"Authorization", basic("eve:secret")}, 401},
		{[]string{"Authorization", basic("ann:secret:")}, 401},
		{[]string{"Authorization", basic("ann")}, 401},
		{[]string{"Authorization", basic("ann:\x00secret")}, 401},
		{[]string{"Authorization", "Bearer x"}, 401},
		{[]string{"Authorization", basic("ann:secret"), "Authorization", basic("ann:secret")}, 401},
		{nil, 401},
	} {
		x := exchange(t, "GET", "/", tt.fields...)
		a := c.Request(x)
		if status(a) != tt.want {
			t.Errorf("%q: status %d, want %d", tt.fields, status(a), tt.want)
		}
		if a != nil {
			if got, want := a.Header.Get("WWW-Authenticate"), `Basic realm="a \"b\" \\c", charset="UTF-8"`; got != want {
				t.Errorf("WWW-Authenticate: %s, want %s", got, want)
			}
		} else if x.Out.Header.Get("Authorization") != "" || x.In.Header.Get("Authorization") == "" {
			t.Error("Authorization was sent on, or taken from the request as it came")
		}
	}
}

func TestRightPasswordIsVerifiedOnceAndAWrongOneEachTime(t *testing.T) {
	p := &Passwords{Remembered: 8}
	c := protected(t, p, map[string]string{"ann": secretHash})
	ask := func(user, password string, want int) {
		t.Helper()
		x := exchange(t, "GET", "/")
		x.In.SetBasicAuth(user, password)
		if got := status(c.Request(x)); got != want {
			t.Errorf("%s: status %d, want %d", user, got, want)
		}
	}
	for range 3 {
		ask("ann", "secret", 0)
	}
	if got := p.worked.Load(); got != 1 {
		t.Errorf("bcrypt ran %d times for one right password, want 1", got)
	}
	for range 3 {
		ask("ann", "wrong", 401)
		ask("nobody", "secret", 401)
	}
	if got := p.worked.Load(); got != 7 {
		t.Errorf("bcrypt ran %d times, want 7: an unknown name costs the same", got)
	}
	// The same name with another hash, as after a change in the file.
	other, err := bcrypt.GenerateFromPassword([]byte("other"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c = protected(t, p, map[string]string{"ann": string(other)})
	ask("ann", "secret", 401)
}

func TestRememberedPasswordsAreBounded(t *testing.T) {
	p := &Passwords{Remembered: 8}
	p.once.Do(p.setUp)
	for i := range 100 {
		p.remember(mac{byte(i)})
		if !p.remembers(mac{0}) {
			t.Fatalf("what is used all the time was forgotten after %d", i)
		}
	}
	if n := len(p.recent) + len(p.older); n > 8 {
		t.Errorf("%d are remembered, want at most 8", n)
	}
}

func TestHashOfNobodyCostsAsMuchAndFitsNothing(t *testing.T) {
	h := hashOfNobody(5)
	if cost, err := bcrypt.Cost(h); err != nil || cost != 5 {
		t.Fatalf("cost %d, %v, want 5", cost, err)
	}
	if err := bcrypt.CompareHashAndPassword(h, []byte("secret")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("comparing says %v, want a mismatch after the work", err)
	}
}

func TestPasswordsWaitForASlotAndNotForever(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &Passwords{AtOnce: 1, Waiting: 1}
			c := protected(t, p, map[string]string{"ann": secretHash})
			p.once.Do(p.setUp)
			p.slots <- struct{}{} // somebody's verification takes long
			ctx, cancel := context.WithCancel(t.Context())
			first := exchange(t, "GET", "/")
			first.In.SetBasicAuth("ann", "secret")
			first.In = first.In.WithContext(ctx)
			var wg sync.WaitGroup
			wg.Go(func() {
				if got := status(c.Request(first)); got != 503 {
					t.Errorf("a client that left: status %d, want 503", got)
				}
			})
			synctest.Wait()
			second := exchange(t, "GET", "/")
			second.In.SetBasicAuth("ann", "secret")
			a := c.Request(second)
			if status(a) != 503 || a.Header.Get("Retry-After") != "1" || record.From(second.In.Context()).LimitHit != "passwords" {
				t.Errorf("one too many: status %d, want 503 and the limit in the record", status(a))
			}
			cancel()
			wg.Wait()
			<-p.slots
			if got := status(c.Request(second)); got != 0 {
				t.Errorf("with a free slot: status %d, want none", got)
			}
		})
	})
}

func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"Basic YTpi", "basic  YTpi ", "Basic", "Basic YTpi,", "Basic Og==", "Basic YR==", "Bearer x", "Basic \u00e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		user, password, ok := credentials([]string{value})
		if !ok {
			return
		}
		if strings.ContainsFunc(user+password, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.Contains(user, ":") {
			t.Fatalf("%q gives %q and %q", value, user, password)
		}
		// What we take, written in its one form, is what the standard library reads.
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		u, p, ok := r.BasicAuth()
		if !ok || u != user || p != password {
			t.Fatalf("%q gives %q and %q, written again %q and %q", value, user, password, u, p)
		}
		r.Header.Set("Authorization", "Basic "+strings.Trim(value[6:], " "))
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			t.Fatalf("%q gives %q and %q, the standard library reads %q and %q, %v", value, user, password, u, p, ok)
		}
	})
}

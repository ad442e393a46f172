package cache

import (
	"strings"
	"testing"
	"time"
)

func TestStorable(t *testing.T) {
	const fresh = "Cache-Control: max-age=60\n"
	const long = "Last-Modified: Sat, 21 Nov 2020 12:00:00 GMT\n"
	type request struct{ authorization, cookie, certificate bool }
	policy := rules{maxBody: 1000}
	withTTL := rules{maxBody: 1000, ttl: time.Minute}
	tests := []struct {
		name   string
		status int
		head   string
		rules  rules
		ask    request
		want   refusal
	}{
		{"explicit", 200, fresh, policy, request{}, storeIt},
		{"nothing said", 200, "", policy, request{}, refuseNoLifetime},
		{"nothing said, with a validator", 200, `Etag: "a"`, policy, request{}, refuseNoLifetime},
		{"nothing said, a ttl", 200, "", withTTL, request{}, storeIt},
		{"nothing said, a ttl, 404", 404, "", withTTL, request{}, storeIt},
		{"nothing said, changed long ago", 200, long, policy, request{}, storeIt},
		{"nothing said, changed long ago, 302", 302, long, policy, request{}, refuseNoLifetime},
		{"public, changed long ago, 302", 302, long + "Cache-Control: public", policy, request{}, storeIt},
		{"public, changed long ago, 599", 599, long + "Cache-Control: public", policy, request{}, storeIt},
		{"public, changed long ago, 500", 500, long + "Cache-Control: public", policy, request{}, refuseNoLifetime},
		{"changed long ago, cookie", 200, long, policy, request{cookie: true}, refuseCookie},
		{"changed long ago, certificate", 200, long, policy, request{certificate: true}, refuseCertificate},
		{"certificate", 200, fresh, policy, request{certificate: true}, storeIt},
		{"certificate, a ttl", 200, "", withTTL, request{certificate: true}, refuseCertificate},
		{"changed long ago, authorization", 200, long, policy, request{authorization: true}, refuseAuthorized},
		{"changed long ago, set-cookie", 200, long + "Set-Cookie: a=b", policy, request{}, refuseSetCookie},
		{"targeted, beside no-store", 200, "CDN-Cache-Control: max-age=60\nCache-Control: no-store", policy, request{}, storeIt},
		{"targeted no-store", 200, fresh + "CDN-Cache-Control: no-store", policy, request{}, refuseNoStore},
		{"targeted, beside what does not parse", 200, "CDN-Cache-Control: max-age=60\nCache-Control: a b", policy, request{}, storeIt},
		{"targeted, and Expires does not count", 200, "CDN-Cache-Control: foo\nExpires: Fri, 31 Dec 9999 23:59:59 GMT", policy, request{}, refuseNoLifetime},
		{"nothing said, a ttl, 302", 302, "", withTTL, request{}, refuseNoLifetime},
		{"nothing said, a ttl, 500", 500, "", withTTL, request{}, refuseNoLifetime},
		{"nothing said, a ttl, 599", 599, "", withTTL, request{}, refuseNoLifetime},
		{"public only, a ttl", 200, "Cache-Control: public", withTTL, request{}, storeIt},
		{"Expires 0, a ttl", 200, "Expires: 0", withTTL, request{}, refuseUseless},
		{"explicit 302", 302, fresh, policy, request{}, storeIt},
		{"explicit 503", 503, fresh, policy, request{}, storeIt},
		{"explicit unknown status", 299, fresh, policy, request{}, storeIt},
		{"explicit 999", 999, fresh, policy, request{}, storeIt},
		{"unknown status to be understood", 299, "Cache-Control: max-age=60, must-understand", policy, request{}, refuseUnknown},
		{"known status, must-understand beats no-store", 200, "Cache-Control: max-age=60, must-understand, no-store", policy, request{}, storeIt},
		{"unknown status, must-understand, no-store", 299, "Cache-Control: max-age=60, must-understand, no-store", policy, request{}, refuseUnknown},
		{"206", 206, fresh, policy, request{}, refuseStatus},
		{"304", 304, fresh, policy, request{}, refuseStatus},
		{"101", 101, fresh, policy, request{}, refuseStatus},
		{"103", 103, fresh, policy, request{}, refuseStatus},
		{"428", 428, fresh, policy, request{}, refuseStatus},
		{"429", 429, "Cache-Control: public, s-maxage=60", policy, request{}, refuseStatus},
		{"431", 431, fresh, policy, request{}, refuseStatus},
		{"511", 511, fresh, policy, request{}, refuseStatus},
		{"407", 407, fresh, policy, request{}, refuseStatus},
		{"408", 408, fresh, policy, request{}, refuseStatus},
		{"412", 412, fresh, policy, request{}, refuseStatus},
		{"413", 413, fresh, policy, request{}, refuseStatus},
		{"416", 416, fresh, policy, request{}, refuseStatus},
		{"417", 417, fresh, policy, request{}, refuseStatus},
		{"425", 425, fresh, policy, request{}, refuseStatus},
		{"426", 426, fresh, policy, request{}, refuseStatus},
		{"explicit 400", 400, fresh, policy, request{}, storeIt},
		{"414, a ttl", 414, "", withTTL, request{}, storeIt},
		{"451, a ttl", 451, "", withTTL, request{}, storeIt},
		{"no-store", 200, "Cache-Control: no-store, max-age=60", policy, request{}, refuseNoStore},
		{"no-store on a line of its own", 200, fresh + "Cache-Control: No-Store", policy, request{}, refuseNoStore},
		{"private", 200, "Cache-Control: private, max-age=60", policy, request{}, refusePrivate},
		{"private fields", 200, `Cache-Control: private="set-cookie", max-age=60`, policy, request{}, refusePrivate},
		{"private and s-maxage", 200, "Cache-Control: private, s-maxage=60", policy, request{}, refusePrivate},
		{"malformed", 200, "Cache-Control: max-age=60; public", policy, request{}, refuseMalformed},
		{"authorization", 200, fresh, policy, request{authorization: true}, refuseAuthorized},
		{"authorization, public", 200, "Cache-Control: public, max-age=60", policy, request{authorization: true}, storeIt},
		{"authorization, s-maxage", 200, "Cache-Control: s-maxage=60", policy, request{authorization: true}, storeIt},
		{"authorization, must-revalidate", 200, "Cache-Control: must-revalidate, max-age=60", policy, request{authorization: true}, storeIt},
		{"authorization, public, a ttl", 200, "Cache-Control: public", withTTL, request{authorization: true}, refuseAuthorized},
		{"cookie", 200, fresh, policy, request{cookie: true}, storeIt},
		{"cookie, a ttl", 200, "", withTTL, request{cookie: true}, refuseCookie},
		{"set-cookie", 200, fresh + "Set-Cookie: a=b", policy, request{}, refuseSetCookie},
		{"set-cookie, a ttl", 200, "Set-Cookie: a=b", withTTL, request{}, refuseSetCookie},
		{"set-cookie, public", 200, "Cache-Control: public, max-age=60\nSet-Cookie: a=b", policy, request{}, storeIt},
		{"set-cookie, s-maxage", 200, "Cache-Control: s-maxage=60\nSet-Cookie: a=b", policy, request{}, storeIt},
		{"vary", 200, fresh + "Vary: Accept-Encoding", policy, request{}, storeIt},
		{"vary *", 200, fresh + "Vary: *", policy, request{}, refuseVary},
		{"vary among others *", 200, fresh + "Vary: Accept\nVary: Cookie, *", policy, request{}, refuseVary},
		{"vary that names nothing", 200, fresh + "Vary: a b", policy, request{}, refuseVary},
		{"event stream", 200, fresh + "Content-Type: text/event-stream;charset=utf-8", policy, request{}, refuseStream},
		{"no-cache with a validator", 200, "Cache-Control: no-cache\nEtag: \"a\"", policy, request{}, storeIt},
		{"no-cache without", 200, "Cache-Control: no-cache", policy, request{}, refuseUseless},
		{"max-age=0 with a validator", 200, "Cache-Control: max-age=0\nLast-Modified: oops", policy, request{}, storeIt},
		{"max-age=0 to be used stale", 200, "Cache-Control: max-age=0, stale-while-revalidate=60", policy, request{}, storeIt},
		{"max-age=0, stale but never", 200, "Cache-Control: max-age=0, stale-if-error=60, must-revalidate", policy, request{}, refuseUseless},
	}
	for _, tt := range tests {
		x := exchange{
			authorization: tt.ask.authorization, cookie: tt.ask.cookie, certificate: tt.ask.certificate,
			status: tt.status, header: head(tt.head), length: 10,
		}
		_, _, got := storable(&x, control(x.header, nil), tt.rules, epoch)
		if got != tt.want {
			t.Errorf("%s: refused %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAnswerThatIsTooLongIsNotStored(t *testing.T) {
	x := exchange{status: 200, header: head("Cache-Control: max-age=5"), length: 1001}
	if _, _, got := storable(&x, readAnswerDirectives(x.header["Cache-Control"]), rules{maxBody: 1000}, epoch); got != refuseTooLarge {
		t.Errorf("refused %q, want %q", got, refuseTooLarge)
	}
}

func TestHopByHopFieldsAreNotStored(t *testing.T) {
	h := head(`Connection: close, X-Hop
Connection: x-other
X-Hop: 1
X-Other: 1
Keep-Alive: timeout=5
Proxy-Authenticate: Basic
Proxy-Authentication-Info: x
Proxy-Connection: close
Te: trailers
Trailer: X
Transfer-Encoding: chunked
Upgrade: h2c
Age: 5
Content-Type: text/plain
X-Twice: a
X-Twice: b`)
	got := storedHeader(h, epoch)
	want := head("Content-Type: text/plain\nX-Twice: a\nX-Twice: b\nDate: " + httpDate(epoch))
	for name := range got {
		if strings.Join(got[name], "|") != strings.Join(want[name], "|") {
			t.Errorf("stored %s: %q, want %q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("stored %d fields, want %d: %v", len(got), len(want), got)
	}
}

package selvage

import (
	"testing"
	"time"
)

func TestCachePolicies(t *testing.T) {
	second := Duration(time.Second)
	for _, c := range []struct {
		edit func(*Cache)
		want []string
	}{
		{func(p *Cache) { p.Tags.Header = "a b" }, []string{`tags.header: "a b" is not the name of a header field`}},
		{func(p *Cache) {
			p.TTLStatus = map[string]Duration{"404": second, "4xx": second, "5XX": 0, "503": 0, "3xx": second}
		}, nil},
		{func(p *Cache) { p.TTLStatus = map[string]Duration{"600": 0, "4x": 0, "1xx": 0, "abc": second} }, []string{
			`key ttl_status.1xx: "1xx" is not a status | write a status such as 404, or a class such as 4xx`,
			`key ttl_status.4x: "4x" is not a status | write a status such as 404, or a class such as 4xx`,
			`key ttl_status.600: "600" is not a status | write a status such as 404, or a class such as 4xx`,
			`key ttl_status.abc: "abc" is not a status | write a status such as 404, or a class such as 4xx`,
		}},
		{func(p *Cache) { p.TTLStatus = map[string]Duration{"503": second} }, []string{
			`key ttl_status.503: answers of 503 may not be given a lifetime by others (RFC 9111, section 4.2.2) | let the application say it in Cache-Control`,
		}},
		{func(p *Cache) { p.IgnoreRequest = []string{"no-cache", "maxage", "x-y-z"} }, []string{
			`ignore_request[1]: "maxage" is not a directive of a request | did you mean "max-age"?`,
			`ignore_request[2]: "x-y-z" is not a directive of a request | known here: max-age, max-stale, min-fresh, no-cache, no-store, only-if-cached, stale-if-error`,
		}},
		{func(p *Cache) { p.Key = &CacheKey{} }, nil},
		{func(p *Cache) {
			p.Key = &CacheKey{Query: &QueryRules{Keep: []string{"q", "page*"}, Sort: true}, Headers: []string{"X-Plan"}, Cookies: []string{"currency"}}
		}, nil},
		{func(p *Cache) { p.Key = &CacheKey{Query: &QueryRules{Keep: []string{"q"}, Drop: []string{"x"}}} }, []string{
			`key key.query.drop: it has both keep and drop | keep one of them: with keep all others are dropped`,
		}},
		{func(p *Cache) { p.Key = &CacheKey{Query: &QueryRules{Ignore: true, Sort: true}} }, []string{
			`key key.query.ignore: a query that is ignored has no parameters to keep, drop or sort | take it away, or the other rules`,
		}},
		{func(p *Cache) { p.Key = &CacheKey{Query: &QueryRules{Drop: []string{"utm_*x", "*", "a&b", "a", "a"}}} }, []string{
			`key.query.drop[4]: parameter "a" stands here twice`,
			`key.query.drop[0]: "utm_*x" is not a name or the beginning of one | a * stands at the end only`,
			`key.query.drop[1]: "*" is every parameter | write ignore: true for a query that does not matter`,
			`key.query.drop[2]: "a&b" is not the name of a parameter | write the name alone, decoded`,
		}},
		{func(p *Cache) {
			p.Key = &CacheKey{Headers: []string{"cookie", "If-None-Match", "a b", "X-Plan", "x-plan", "TE"}, Cookies: []string{"a=b"}}
		}, []string{
			`key.headers[0]: field "cookie" cannot be in a key | name the cookies under cookies`,
			`key.headers[1]: field "If-None-Match" cannot be in a key`,
			`key.headers[2]: "a b" is not the name of a header field`,
			`key.headers[4]: field "x-plan" stands here twice`,
			`key.headers[5]: field "TE" cannot be in a key`,
			`key.cookies[0]: "a=b" is not the name of a cookie`,
		}},
	} {
		s := validService()
		c.edit(s.Routes[1].Cache)
		var want []string
		for _, w := range c.want {
			if len(w) > 4 && w[:4] == "key " {
				w = "key routes[1].cache." + w[4:]
			} else {
				w = "routes[1].cache." + w
			}
			want = append(want, insertSubject(w))
		}
		compare(t, s.Validate(), want...)
	}
}

func TestCompressionIsChecked(t *testing.T) {
	s := validService()
	s.Routes[0].Compress = &Compress{}
	s.Routes[1].Compress = &Compress{Codings: []string{"br", "deflate", "br"}, Types: []string{"application/x-protobuf", "text/*", "a"}}
	compare(t, s.Validate(),
		`key routes[0].compress: route "/old/*": compress has no use beside a redirect | take it away`,
		`routes[1].compress.codings[2]: route "api": coding "br" stands here twice`,
		`routes[1].compress.codings[1]: route "api": "deflate" is not a content coding that is made here | write br, zstd or gzip`,
		`routes[1].compress.types[1]: route "api": "text/*" is not a media type | write one such as application/x-protobuf`,
		`routes[1].compress.types[2]: route "api": "a" is not a media type | write one such as application/x-protobuf`)
}

// insertSubject puts the route's name behind the path of a mistake.
func insertSubject(w string) string {
	for i := range w {
		if w[i] == ':' && i+1 < len(w) && w[i+1] == ' ' {
			return w[:i] + `: route "api":` + w[i+1:]
		}
	}
	return w
}

package selvage

import "strings"

// Service is what is deployed: hosts, routes, origins, objectives, an owner.
type Service struct {
	// The service's name: lower-case letters, digits and hyphens.
	Service ServiceName `yaml:"service" required:"true" example:"shop"`
	// Who is asked when it breaks.
	Owner string `yaml:"owner" example:"checkout-team"`
	// How much it matters: 1 is what must not fail, 3 is what may.
	Tier int `yaml:"tier" default:"2" min:"1" max:"3"`
	// The host names it answers to, without a port. `*.shop.example` is every name below that one, `*` every name that no other service has.
	Hosts []string `yaml:"hosts" required:"true" example:"[shop.example]"`
	// The certificate that clients of its hosts are shown, in the place of those of the node file.
	TLS ServiceTLS `yaml:"certificate"`
	// What its users are promised. Shown by `selvage status` and exported as metrics.
	Objectives Objectives `yaml:"objectives"`
	// The pools of endpoints of the application, and folders of static files, by name.
	Origins map[OriginName]Origin `yaml:"origins"`
	// Programs that run at the edge, by name. Routes and origins name them.
	Functions map[FunctionName]Function `yaml:"functions"`
	// Who may use the PURGE method on the service's own URLs. Without it nobody may.
	Purge *PurgeAccess `yaml:"purge"`
	// Tell clients apart by a cookie of the edge's own, where a change is tried on some of them. Without it they are told apart by their addresses, a /56 in IPv6.
	ClientCookie *ClientCookie `yaml:"client_cookie"`
	// What is done with a request. The first route that matches wins; one that can never match is an error.
	Routes []Route `yaml:"routes" required:"true"`
}

// ServiceTLS is the certificate of a service. Where nothing else of the service changes, a
// new one is shown to some connections first, and taken back where their clients refuse it.
// Listeners with TLS have a certificate in the node file all the same, for other names.
type ServiceTLS struct {
	// A PEM file with the chain, the service's own certificate first.
	Certificate string `yaml:"chain" example:"./shop.pem"`
	// A PEM file with its key, or the key itself by ${secret:NAME}. No key is shipped with a service that is deployed: there it is a secret, and a new key is one with a new name.
	Key string `yaml:"key" example:"${secret:shop-tls}"`
}

// HasKey says that the key itself stands in the place of a file's name.
func (t *ServiceTLS) HasKey() bool { return isKey(t.Key) }

// isKey says that a text is a private key in PEM, and no name of a file.
func isKey(s string) bool { return strings.HasPrefix(s, "-----BEGIN ") }

// PurgeAccess says who may make the edge forget a URL with the PURGE method, by a
// request for it: PURGE /p/42. With Fastly-Soft-Purge: 1 it is stale, not gone. The
// answer comes when all nodes have applied it.
type PurgeAccess struct {
	// Addresses that may; behind trusted proxies those of the clients.
	Allow []Prefix `yaml:"allow" required:"true" example:"[10.0.0.0/8]"`
}

// ClientCookie keeps a client on its side of a change when its address changes. It says,
// sealed, in which network the client was first seen, and nothing else; origins and
// functions do not see it. It is given with answers that nobody else may have: those
// that say private or no-store, and those to POST, PUT, PATCH and DELETE that say
// nothing of storing. So an answer in a cache never has one.
type ClientCookie struct {
	// Its name.
	Name string `yaml:"name" default:"selvage-client"`
	// How long it is good.
	MaxAge Duration `yaml:"max_age" default:"720h"`
}

// Objectives are what the users of a service are promised.
type Objectives struct {
	// The share of requests that are answered without an error of ours or the origin's.
	Availability Percent `yaml:"availability" example:"99.9%"`
	// How long an answer may take, from the complete request head to the first byte.
	Latency LatencyObjective `yaml:"latency"`
}

// LatencyObjective bounds quantiles of the time to the first byte.
type LatencyObjective struct {
	// 99 of 100 answers begin within this time.
	P99 Duration `yaml:"p99" example:"300ms"`
}

// Route is a host, path and method pattern with its policies. It ends in a
// redirect, at a function or at an origin.
type Route struct {
	// A name for logs and metrics. Without one it is the methods and the path of the match.
	Name RouteName `yaml:"name" example:"search"`
	// Which requests it takes.
	Match Match `yaml:"match" required:"true"`
	// Answer with a redirect instead of asking an origin.
	Redirect *Redirect `yaml:"redirect"`
	// The function that answers. Its requests to origins go on through the route's cache.
	Function FunctionName `yaml:"function" example:"greet"`
	// The origin that is asked. Beside a function it is the one that the function's requests go to by this name, and that answers in its place with on_failure: pass.
	Origin OriginName `yaml:"origin" example:"web"`
	// Who may use it.
	Access *Access `yaml:"access"`
	// Which other sites' pages may use it from a browser (CORS, Fetch Standard).
	CORS *CORS `yaml:"cors"`
	// How often it may be used.
	Limit *Limit `yaml:"limit"`
	// The largest request body. Beyond it the answer is 413. Without it the node's limit holds.
	MaxBody ByteSize `yaml:"max_body" example:"10MiB"`
	// How the path is changed before the origin sees it.
	Rewrite *Rewrite `yaml:"rewrite"`
	// How header fields are changed.
	Headers Headers `yaml:"headers"`
	// How answers are stored and reused (RFC 9111). Without it nothing is stored.
	Cache *Cache `yaml:"cache"`
	// Compress answers for clients that read it (RFC 9110, section 8.4). Without it bodies go out as they came; `compress: {}` is all defaults. What is stored is compressed once for everybody, all else as it goes out.
	Compress *Compress `yaml:"compress"`
	// Say safe where recorded GETs of this route may be played on a new revision before any user meets it, without cookies and credentials. Those of routes with a cache are, unless it says never.
	Replay ReplayChoice `yaml:"replay" example:"safe"`
	// What is tried, in this order, when the origin fails: no answer, or 500, 502, 503 or 504.
	OnFailure []Rung `yaml:"on_failure" example:"[stale, {default: {status: 503, body: \"back soon\"}}]"`
	// Which of its requests are written to the access log: all, errors, none, or a share such as 1%.
	Log LogChoice `yaml:"log" default:"all"`
}

// Match is a pattern of requests. All of it must hold.
type Match struct {
	// Host names as in the service's hosts, of which they must be part. Without them all of the service's hosts match.
	Hosts []string `yaml:"hosts" example:"[api.shop.example]"`
	// A path. A segment `*` is one segment, at the end it is all the rest, also nothing. Redirects and rewrites take them as $1, $2 and so on.
	Path string `yaml:"path" required:"true" example:"/old/*"`
	// Methods. GET includes HEAD. Without them all methods match.
	Methods []string `yaml:"methods" example:"[POST]"`
}

// Redirect answers with the address of another resource (RFC 9110, section 15.4).
type Redirect struct {
	// The address: a path or a URL. $1 is what the first `*` of the match took, $host and $path are the request's. The query is kept unless this one has its own.
	To string `yaml:"to" required:"true" example:"/new/$1"`
	// 301, 302, 303, 307 or 308.
	Status int `yaml:"status" default:"308" enum:"301,302,303,307,308"`
}

// Rewrite changes the path before the origin sees it. Either of its fields, not both.
type Rewrite struct {
	// Cut this from the beginning of the path. What is left begins with a slash.
	StripPrefix string `yaml:"strip_prefix" example:"/app"`
	// The new path. $1 is what the first `*` of the match took. The query is kept.
	Path string `yaml:"path" example:"/v2/$1"`
}

// Access says who may use a route: first the addresses, then the password.
type Access struct {
	// Addresses that may. With it, all others may not.
	Allow []Prefix `yaml:"allow" example:"[10.0.0.0/8]"`
	// Addresses that may not. It goes before allow.
	Deny []Prefix `yaml:"deny" example:"[192.0.2.7]"`
	// A name and a password are asked for (RFC 7617).
	BasicAuth *BasicAuth `yaml:"basic_auth"`
}

// BasicAuth asks for a name and a password. The Authorization field that it used is not sent on.
type BasicAuth struct {
	// What the browser shows.
	Realm string `yaml:"realm" default:"restricted"`
	// The bcrypt hash of each user's password, as `htpasswd -nB` makes it.
	Users map[string]string `yaml:"users" required:"true"`
}

// CORS says which other sites' pages may use a route. Preflight requests are answered at the edge.
type CORS struct {
	// Origins such as https://app.example, `*` for all, https://*.app.example for those below.
	Origins []string `yaml:"origins" required:"true" example:"[https://app.example]"`
	// Methods they may use.
	Methods []string `yaml:"methods" default:"[GET, HEAD, POST]"`
	// Request fields they may send.
	Headers []string `yaml:"headers" example:"[Content-Type]"`
	// Answer fields their scripts may read.
	Expose []string `yaml:"expose" example:"[ETag]"`
	// Cookies may be sent. Not together with `*` in origins.
	Credentials bool `yaml:"credentials"`
	// How long a browser may remember the answer to a preflight request.
	MaxAge Duration `yaml:"max_age" default:"10m"`
}

// Limit is a rate limit: an even flow with a burst (the generic cell rate
// algorithm). Beyond it the answer is 429 with Retry-After and RateLimit.
type Limit struct {
	// How many requests in a second, a minute or an hour.
	Rate Rate `yaml:"rate" required:"true" example:"20/s"`
	// How many may come at once. Without it, one second's worth, at least 1.
	Burst int `yaml:"burst" min:"0"`
	// Who shares one allowance: `client` by address (a /56 in IPv6), `route` all together, or `header:NAME` by a field's value.
	Per LimitKey `yaml:"per" default:"client"`
}

// Headers changes header fields: first remove, then set, then add.
type Headers struct {
	// On what the origin is sent.
	Request HeaderEdits `yaml:"request"`
	// On what the client is sent, whoever made the answer.
	Response HeaderEdits `yaml:"response"`
}

// HeaderEdits are changes to header fields. Fields that frame a message cannot be named.
type HeaderEdits struct {
	// Fields to take away.
	Remove []string `yaml:"remove" example:"[Server]"`
	// Fields that get this one value.
	Set map[string]string `yaml:"set" example:"{X-Frame-Options: DENY}"`
	// Fields that get one more value.
	Add map[string]string `yaml:"add" example:"{Vary: X-Plan}"`
}

// Cache says how answers are stored and reused (RFC 9111).
type Cache struct {
	// How long an answer is fresh that does not say it itself. With 0s it is a tenth of the time since its Last-Modified, at most an hour; one without that is not stored.
	TTL Duration `yaml:"ttl" default:"0s" example:"60s"`
	// For how long after that it may be used while a new one is fetched, where the answer does not say (RFC 5861).
	StaleWhileRevalidate Duration `yaml:"stale_while_revalidate" default:"0s" example:"30s"`
	// For how long after that it may be used when the origin fails, where the answer does not say (RFC 5861).
	StaleIfError Duration `yaml:"stale_if_error" default:"0s" example:"1h"`
	// A lifetime of its own for answers of a status that do not say it themselves, instead of ttl: a status such as 404, or a class such as 4xx. With 0s they are not stored. Only for statuses that RFC 9110, section 15.1, and RFC 7725 let be stored by a guess: 200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 451, 501; of a class it takes those.
	TTLStatus map[string]Duration `yaml:"ttl_status" example:"{404: 10s, 5xx: 0s}"`
	// The largest body that is stored.
	MaxBody ByteSize `yaml:"max_body" default:"64MiB"`
	// What tells answers apart beside host and path. Without it the whole query does, and nothing else.
	Key *CacheKey `yaml:"key"`
	// Directives of requests that are not honoured: max-age, max-stale, min-fresh, no-cache, no-store, only-if-cached, stale-if-error. A reload in a browser sends max-age=0 or no-cache: without these two nobody can make the origin work by reloading. Without it all are honoured, as RFC 9111, section 5.2.1, and RFC 5861, section 4, have it.
	IgnoreRequest []string `yaml:"ignore_request" example:"[max-age, no-cache]"`
	// Where an answer names its tags.
	Tags CacheTags `yaml:"tags"`
	// Tell the key of each request in Cache-Status, to see why two requests do not share an answer.
	ShowKey bool `yaml:"show_key"`
}

// CacheKey says what tells answers for one host and path apart.
type CacheKey struct {
	// What of the query does. Without it all of it.
	Query *QueryRules `yaml:"query"`
	// Request fields whose values do, beside those that an answer names in Vary. Not Cookie and Authorization, and none that a cache reads itself.
	Headers []string `yaml:"headers" example:"[X-Plan]"`
	// Cookies whose values do. An answer to a request whose cookies are all named here may have the lifetime of ttl.
	Cookies []string `yaml:"cookies" example:"[currency]"`
}

// QueryRules says what of a query tells answers apart. What does not is not sent
// to the origin by a request whose answer may be stored: so it cannot get into
// an answer for others.
type QueryRules struct {
	// The query does not matter at all.
	Ignore bool `yaml:"ignore"`
	// The parameters that do; no others. A * at the end stands for all that begin so.
	Keep []string `yaml:"keep" example:"[q, page]"`
	// The parameters that do not. A * at the end stands for all that begin so.
	Drop []string `yaml:"drop" example:"[utm_*, fbclid]"`
	// The order of parameters with different names does not matter.
	Sort bool `yaml:"sort"`
}

// CacheTags says where an answer names the tags by which it can be purged.
type CacheTags struct {
	// The answer field with the tags, divided by spaces or commas. It is not sent to the client. The tags in Surrogate-Key, Cache-Tag and Cache-Groups (RFC 9875) are read beside it; without another field here the first two are not sent either.
	Header string `yaml:"header" default:"Surrogate-Key"`
}

// Compress says how answers are compressed. Those of types that gain by it are:
// text, JSON, XML, scripts, SVG, fonts that are not compressed inside. Those with
// Cache-Control: no-transform, theirs or the request's, or a coding already are not.
type Compress struct {
	// The codings, the best first. Without it br, zstd, gzip for what is stored and zstd, gzip, br for what is compressed each time.
	Codings []string `yaml:"codings" example:"[zstd, gzip]"`
	// The smallest body that is compressed, where its length is known.
	MinSize ByteSize `yaml:"min_size" default:"1KiB"`
	// Media types that are compressed beside those which always are.
	Types []string `yaml:"types" example:"[application/x-protobuf]"`
}

// Rung is one step of the failure ladder. Exactly one of its fields is set; the
// word `stale` alone stands for {stale: true}.
type Rung struct {
	// A stored answer that is no longer fresh, as far as stale_if_error allows.
	Stale bool `yaml:"stale"`
	// A fixed answer.
	Default *DefaultAnswer `yaml:"default"`
}

// DefaultAnswer is a fixed answer.
type DefaultAnswer struct {
	// Its status.
	Status int `yaml:"status" default:"503" min:"200" max:"599"`
	// A file with its body, relative to the service file. Its name gives the type.
	File string `yaml:"file" example:"sorry.html"`
	// Its body, instead of a file.
	Body string `yaml:"body" example:"back soon"`
	// Its header fields.
	Headers map[string]string `yaml:"headers" example:"{Retry-After: 30}"`
	// What the file held when the revision was made; never written by hand.
	Content []byte `yaml:"-"`
}

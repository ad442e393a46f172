package selvage

// Origin is a pool of endpoints of the user's application, a folder of static files, or a function.
type Origin struct {
	// URLs with a scheme and a host, and a port where it is not 80 or 443. A DNS name stands for all its addresses and is resolved again.
	Endpoints []string `yaml:"endpoints" example:"[http://10.0.0.1:8080, http://10.0.0.2:8080]"`
	// How much of the requests each endpoint gets beside the others, by its URL: 0 is nothing, and 1 where it is not named. Requests under way move it a little, to those that are less busy than their weight.
	Weights map[string]int `yaml:"weights" example:"{\"http://10.0.0.2:8080\": 3}"`
	// A folder of static files instead of endpoints, relative to the service file. Names that begin with a dot are not served.
	Folder string `yaml:"folder" example:"./public"`
	// A function of the service instead of endpoints: what it renders can be stored by the route's cache.
	Function FunctionName `yaml:"function" example:"render"`
	// The Host that is sent on: keep (the client's), endpoint (the endpoint's), or a name.
	Host string `yaml:"host" default:"keep"`
	// The protocol spoken to it: http1, h2 (over TLS) or h2c (without).
	Protocol Protocol `yaml:"protocol" default:"http1"`
	// How https endpoints are verified.
	TLS OriginTLS `yaml:"tls"`
	// Endpoints are asked whether they are well. Without it only failures of real requests tell.
	Health *Health `yaml:"health"`
	// When failures of real requests take an endpoint out.
	Eject Eject `yaml:"eject"`
	// How long is waited for it.
	Timeout OriginTimeout `yaml:"timeout"`
	// How often it is tried again.
	Retry Retry `yaml:"retry"`
	// The connections kept to each endpoint.
	Connections OriginConnections `yaml:"connections"`
}

// OriginTLS says how https endpoints are verified and what we show them.
type OriginTLS struct {
	// A PEM file with the authorities to trust instead of the system's.
	CA string `yaml:"ca" example:"./ca.pem"`
	// The name that must stand in the certificate, where it is not the endpoint's.
	ServerName string `yaml:"server_name" example:"internal.example"`
	// A PEM file with our client certificate.
	Certificate string `yaml:"certificate" example:"./client.pem"`
	// A PEM file with its key, or the key itself by ${secret:NAME}. No key is shipped with a service that is deployed: there it is a secret.
	Key string `yaml:"key" example:"./client.key"`
}

// HasKey says that the key itself stands in the place of a file's name.
func (t *OriginTLS) HasKey() bool { return isKey(t.Key) }

// Health is the active health check of a pool.
type Health struct {
	// What is asked for, with GET.
	Path string `yaml:"path" default:"/"`
	// The Host that is sent. Without it the endpoint's.
	Host string `yaml:"host" example:"shop.example"`
	// How often, give or take a tenth.
	Every Duration `yaml:"every" default:"2s"`
	// How long an answer may take.
	Timeout Duration `yaml:"timeout" default:"1s"`
	// The status that says it is well. 0 is any from 200 to 399.
	Status int `yaml:"status" default:"0" min:"0" max:"599"`
	// How many good answers in a row bring it back.
	Rise int `yaml:"rise" default:"2" min:"1"`
	// How many bad answers in a row take it out.
	Fall int `yaml:"fall" default:"2" min:"1"`
}

// Eject takes an endpoint out after failures of real requests: no answer, or
// 502, 503 or 504. At least one endpoint always stays in.
type Eject struct {
	// How many failures in a row. 0 never ejects.
	Failures int `yaml:"failures" default:"5" min:"0"`
	// For how long; it doubles with each time in a row, up to ten times.
	For Duration `yaml:"for" default:"5s"`
}

// OriginTimeout bounds how long is waited for an origin. 0s is no bound.
type OriginTimeout struct {
	// For a connection, with TLS.
	Connect Duration `yaml:"connect" default:"1s"`
	// For the answer's head, from the moment the request is sent.
	FirstByte Duration `yaml:"first_byte" default:"30s"`
	// For the next byte of the answer's body.
	Idle Duration `yaml:"idle" default:"60s"`
	// For all attempts together until the answer's head is there.
	Total Duration `yaml:"total" default:"60s"`
}

// Retry says how often an origin is tried again. Only what may be repeated is:
// idempotent methods (RFC 9110, section 9.2.2), and others if no byte of them
// was sent. Retries wait with full jitter.
type Retry struct {
	// How many tries in all.
	Attempts int `yaml:"attempts" default:"3" min:"1" max:"10"`
	// Statuses that are tried again.
	Statuses []int `yaml:"statuses" default:"[502, 503, 504]"`
	// The longest wait before the first retry; it doubles with each.
	Backoff Duration `yaml:"backoff" default:"25ms"`
	// Retries as a share of requests in the last ten seconds; three are always allowed.
	Budget Percent `yaml:"budget" default:"10%"`
	// How much of a request body is kept so that it can be sent again; beyond it the request is not retried.
	Body ByteSize `yaml:"body" default:"1MiB"`
}

// OriginConnections bounds the connections to each endpoint.
type OriginConnections struct {
	// How many at the most. Beyond it requests wait, as long as the connect timeout.
	Max int `yaml:"max" default:"1024" min:"1"`
	// How many are kept open without a request.
	Idle int `yaml:"idle" default:"128" min:"0"`
	// For how long.
	IdleTimeout Duration `yaml:"idle_timeout" default:"60s"`
	// How often DNS names are resolved again. The last good addresses are kept when that fails.
	Resolve Duration `yaml:"resolve" default:"10s"`
}

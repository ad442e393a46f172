package selvage

// Node is what belongs to one machine: its listeners, its place, its limits.
type Node struct {
	// Its name. Without one it is the machine's host name.
	Name NodeName `yaml:"name" example:"ams-1"`
	// The place it stands in.
	POP POP `yaml:"pop" default:"local"`
	// Where its data may live.
	Zone Zone `yaml:"zone" default:"local"`
	// Where clients come in.
	Listen []Listener `yaml:"listen" default:"[{address: 127.0.0.1:8080}]"`
	// Where operators come in.
	Admin Admin `yaml:"admin"`
	// The folder for what must outlive the process. Without one: $STATE_DIRECTORY, /var/lib/selvage for root, else $XDG_STATE_HOME/selvage.
	Data string `yaml:"data" example:"/var/lib/selvage"`
	// The certificates of the listeners with TLS.
	TLS TLS `yaml:"tls"`
	// Addresses of proxies in front of us whose Forwarded and X-Forwarded-* fields are believed.
	TrustedProxies []Prefix `yaml:"trusted_proxies" example:"[10.0.0.0/8]"`
	// What a request and a connection may be.
	Limits Limits `yaml:"limits"`
	// How long a client may take.
	Deadlines Deadlines `yaml:"deadlines"`
	// The memory for stored answers, with all their overhead.
	Cache NodeCache `yaml:"cache"`
	// The secrets that deployed services name with ${secret:NAME}, by name: lower-case letters, digits and hyphens. They are read when a revision is made ready, which is at a deploy and at a start, and are neither kept nor shown.
	Secrets map[string]Secret `yaml:"secrets" example:"{shop-key: {file: /etc/selvage/shop.key, services: [shop]}}"`
	// What functions may do on this machine.
	Functions NodeFunctions `yaml:"compute"`
	// Where the access log goes: stdout, stderr, off, or a file that is opened again on SIGHUP.
	AccessLog string `yaml:"access_log" default:"stderr"`
	// Where the lines go that functions write to their log endpoints, standard output and error, as the access log. On a terminal stderr is easier to read.
	FunctionLog string `yaml:"function_log" default:"stderr"`
}

// Listener is an address where clients come in.
type Listener struct {
	// A host and a port; without a host all addresses.
	Address string `yaml:"address" required:"true" example:":443"`
	// HTTP/1.1 and HTTP/2 over TLS. Without it HTTP/1.1, and HTTP/2 by its preface.
	TLS bool `yaml:"tls"`
	// A PROXY protocol header (version 1 or 2) is required from these addresses and refused from all others.
	ProxyProtocol []Prefix `yaml:"proxy_protocol" example:"[10.0.0.0/8]"`
	// Ask clients for a certificate of their own, on a listener with TLS.
	ClientCertificates *ClientCertificates `yaml:"client_certificates"`
}

// ClientCertificates says whose certificates clients of a listener are asked for.
type ClientCertificates struct {
	// A PEM file with the certificates of the authorities that are believed, and nothing else. One that has expired is read, and believes nobody. The file is read again on SIGHUP and when it changes; then no client is let in by a session of before; connections that are open stay. Revoked certificates are not known.
	Authorities string `yaml:"authorities" required:"true" example:"/etc/selvage/clients.pem"`
	// require: a handshake without a certificate that is believed is refused. request: clients without one, or with another, are served too, and functions are told. Origins are told of a believed one in Client-Cert (RFC 9440).
	Mode string `yaml:"mode" default:"require" enum:"require,request"`
}

// CertificateRequested is the mode of a listener that serves clients without a certificate too.
const CertificateRequested = "request"

// Admin is where operators come in. A unix socket in the data folder is always there.
type Admin struct {
	// A host and a port, or off.
	Address string `yaml:"address" default:"127.0.0.1:9440"`
	// The SHA-256, in hexadecimal, of each token that may be used there. `viewer:` or `operator:` before it says that it may do less than an admin. `selvage token create` makes others.
	Tokens []string `yaml:"tokens"`
	// Whether /metrics is answered without a token. auto is yes on a loopback address only.
	OpenMetrics string `yaml:"open_metrics" default:"auto" enum:"auto,yes,no"`
}

// TLS holds the certificates of the listeners with TLS, chosen by server name.
type TLS struct {
	// The certificates. The first is used where none fits the name. They are read again on SIGHUP and when the files change.
	Certificates []Certificate `yaml:"certificates"`
	// The lowest version.
	MinVersion string `yaml:"min_version" default:"1.2" enum:"1.2,1.3"`
	// Make certificates for any name of our services with an authority of our own in the data folder. For development only.
	Development bool `yaml:"development"`
}

// Certificate is a certificate chain and its key, both PEM files.
type Certificate struct {
	// The chain, the server's own certificate first.
	Certificate string `yaml:"certificate" required:"true" example:"/etc/selvage/shop.pem"`
	// The key.
	Key string `yaml:"key" required:"true" example:"/etc/selvage/shop.key"`
}

// Limits bound what a request and a connection may be. When one is hit, the
// metric selvage_limit_hits_total counts it under the limit's name.
type Limits struct {
	// The whole request head. Beyond it the answer is 431.
	Head ByteSize `yaml:"head" default:"32KiB"`
	// The request target. Beyond it the answer is 414.
	Target ByteSize `yaml:"target" default:"8KiB"`
	// The number of header fields. Beyond it the answer is 431.
	Fields int `yaml:"fields" default:"128" min:"1"`
	// The request body. Beyond it the answer is 413.
	Body ByteSize `yaml:"body" default:"4GiB"`
	// Client connections at once. Beyond it new ones are closed at once.
	Connections int `yaml:"connections" default:"50000" min:"1"`
	// TLS handshakes at once. Beyond it new ones wait within the head deadline.
	Handshakes int `yaml:"handshakes" default:"256" min:"1"`
	// HTTP/2 streams at once on a connection.
	Streams int `yaml:"streams" default:"250" min:"1"`
	// The memory of everything that compresses and decompresses answers. Beyond it they go out as they are.
	Coders ByteSize `yaml:"coders" default:"64MiB"`
}

// Deadlines bound how long a client may take. 0s is no bound.
type Deadlines struct {
	// From the first byte of a request, or from the accepted connection, to the end of its head; with the TLS handshake.
	Head Duration `yaml:"head" default:"10s"`
	// For the next byte of a request body.
	Body Duration `yaml:"body" default:"30s"`
	// Between two requests on a connection.
	Idle Duration `yaml:"idle" default:"75s"`
	// For the client to take the next part of an answer.
	Write Duration `yaml:"write" default:"30s"`
	// For a request and its answer together. Upgraded connections are exempt.
	Total Duration `yaml:"total" default:"1h"`
	// For requests in flight when the node ends.
	Drain Duration `yaml:"drain" default:"30s"`
}

// Secret is where a secret is on this machine, and who may use it. Either of file and env.
type Secret struct {
	// A file that holds it. A line feed at its end is none of it.
	File string `yaml:"file" example:"/etc/selvage/shop.key"`
	// An environment variable of the node.
	Env string `yaml:"env" example:"SHOP_KEY"`
	// The services that may use it.
	Services []ServiceName `yaml:"services" required:"true" example:"[shop]"`
}

// NodeCache bounds the stored answers of a node.
type NodeCache struct {
	// The memory for stored answers, with all their overhead.
	Memory ByteSize `yaml:"memory" default:"256MiB"`
}

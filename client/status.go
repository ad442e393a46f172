package client

import "time"

// Status says how a node is.
type Status struct {
	Version     string      `json:"version"`
	Node        string      `json:"node"`
	POP         string      `json:"pop"`
	Zone        string      `json:"zone"`
	Started     time.Time   `json:"started"`
	State       string      `json:"state" enum:"ready,draining"`
	Listeners   []Listener  `json:"listeners"`
	Connections Connections `json:"connections"`
	Cache       Cache       `json:"cache"`
	Services    []Service   `json:"services"`
}

// Listener is an address where clients come in.
type Listener struct {
	Address string `json:"address"`
	TLS     bool   `json:"tls"`
}

// Connections counts the clients' open connections.
type Connections struct {
	HTTP1    int `json:"http1" doc:"HTTP/1.1, with those that were upgraded"`
	HTTP2    int `json:"http2"`
	Upgraded int `json:"upgraded" doc:"WebSockets and others"`
}

// Cache is the store of a node.
type Cache struct {
	Objects  int64 `json:"objects"`
	Bytes    int64 `json:"bytes" doc:"with all overhead"`
	MaxBytes int64 `json:"max_bytes"`
}

// Service is how one service is.
type Service struct {
	Tenant     string     `json:"tenant"`
	Service    string     `json:"service"`
	Owner      string     `json:"owner,omitempty"`
	Tier       int        `json:"tier"`
	Revision   string     `json:"revision"`
	Hosts      []string   `json:"hosts"`
	Routes     int        `json:"routes"`
	Objectives Objectives `json:"objectives"`
	LastMinute Traffic    `json:"last_minute"`
	Origins    []Origin   `json:"origins"`
}

// Objectives are what the users of a service were promised; 0 is no promise.
type Objectives struct {
	Availability float64 `json:"availability,omitempty" doc:"share, 0 to 1"`
	P99MS        float64 `json:"p99_ms,omitempty" doc:"milliseconds to the first byte"`
}

// Traffic is what a service did in a span of time.
type Traffic struct {
	Requests int64   `json:"requests"`
	Bad      int64   `json:"bad" doc:"no answer, a broken one, or 5xx"`
	Hits     int64   `json:"hits" doc:"answered from the cache without asking the origin"`
	Bytes    int64   `json:"bytes" doc:"of answers' bodies"`
	P50MS    float64 `json:"p50_ms" doc:"milliseconds to the first byte"`
	P99MS    float64 `json:"p99_ms" doc:"milliseconds to the first byte"`
}

// Origin is how a pool of endpoints is.
type Origin struct {
	Origin    string     `json:"origin"`
	Folder    string     `json:"folder,omitempty"`
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Endpoint is how one address of an origin is.
type Endpoint struct {
	Endpoint    string    `json:"endpoint" doc:"as in the file"`
	Address     string    `json:"address" doc:"as resolved"`
	State       string    `json:"state" enum:"in,down,ejected,trying,unresolved"`
	Why         string    `json:"why,omitempty"`
	InFlight    int       `json:"in_flight"`
	LatencyMS   float64   `json:"latency_ms" doc:"moving average to the first byte"`
	Connections int       `json:"connections"`
	LastError   string    `json:"last_error,omitempty" doc:"of a request"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

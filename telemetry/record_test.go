package telemetry

import (
	"net/netip"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// full is a record with every field set.
func full() *record.Record {
	r := &record.Record{
		Start:  time.Date(2026, 11, 21, 7, 8, 9, 123456789, time.UTC),
		Place:  record.Place{Zone: "eu", POP: "ams", Node: "ams-1"},
		Target: record.Target{Tenant: "main", Service: "shop", Route: "search", Origin: "web", Revision: "0123456789abcdef", Change: "c-7", Arm: selvage.Baseline, Rescued: true, Log: selvage.LogChoice{Share: 1, Errors: true}},
		Client: record.Client{Addr: netip.MustParseAddr("192.0.2.7"), Peer: netip.MustParseAddrPort("10.0.0.9:4711"), RTT: 1500 * time.Microsecond, TLS: 0x304, Protocol: "HTTP/2.0", Reused: true},
		Request: record.Request{
			Method: "GET", Host: "shop.example", Path: "/search", HeadBytes: 321, BodyBytes: 5,
		},
		Answer:   record.Answer{Status: 502, HeadBytes: 200, BodyBytes: 1024, Coding: "br", UncodedBytes: 4096, Upgraded: true, Broken: true},
		Cache:    record.Cache{Fwd: "stale", FwdStatus: 304, TTL: -3 * time.Second, HasTTL: true, Stored: true, Collapsed: true, Stale: true, Detail: "swr"},
		Trace:    record.Trace{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3}, Parent: [8]byte{4}, Flags: 1},
		Timing:   record.Timing{Head: time.Millisecond, FirstByte: 12345 * time.Microsecond, End: 20 * time.Millisecond},
		Function: record.Function{Name: "render", CPU: 3 * time.Millisecond, Memory: 65536, Fetches: 2, Failed: "default", Trap: "0123456789abcdef"},
		WhyBad:   record.OriginFailed,
		Detail:   `origin "web" at 10.0.0.1:80: connection_refused`,
		LimitHit: "body",
	}
	r.Origin.Type = selvage.ConnectionRefused
	r.Origin.Fallback = "stale"
	r.Origin.Add(record.Attempt{Endpoint: "10.0.0.1:80", Start: 2 * time.Millisecond, Error: selvage.ConnectionRefused})
	r.Origin.Add(record.Attempt{Endpoint: "10.0.0.2:80", Start: 3 * time.Millisecond, FirstByte: 4 * time.Millisecond, Status: 502, Reused: true})
	return r
}

// plain is the record of an ordinary good request.
func plain() *record.Record {
	r := full()
	r.Answer = record.Answer{Status: 200, HeadBytes: 200, BodyBytes: 1024}
	r.Cache = record.Cache{Fwd: "uri-miss", FwdStatus: 200, Stored: true}
	r.WhyBad, r.Detail, r.LimitHit = record.Good, "", ""
	r.Origin, r.Function = record.Origin{}, record.Function{}
	r.Origin.Add(record.Attempt{Endpoint: "10.0.0.1:80", FirstByte: 4 * time.Millisecond, Status: 200})
	return r
}

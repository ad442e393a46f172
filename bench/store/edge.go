package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/record"
)

// edge is a cache in front of an origin that answers at once.
type edge struct {
	store     *cache.Store
	transport *cache.Transport
	req       *http.Request
	url       url.URL
	rec       record.Record
	path      []byte
}

// origin answers every request with a body of so many bytes.
type origin int

func (o origin) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{
			"Content-Type":   {"text/html; charset=utf-8"},
			"Content-Length": {strconv.Itoa(int(o))},
			"Etag":           {`"` + req.URL.Path + `"`},
			"Last-Modified":  {"Sat, 21 Nov 2026 06:00:00 GMT"},
			"Cache-Control":  {"max-age=86400"},
			"Surrogate-Key":  {"all " + req.URL.Path[1:4]},
			"Server":         {"shop"},
		},
		ContentLength: int64(o),
		Body:          io.NopCloser(bytes.NewReader(make([]byte, o))),
	}, nil
}

func newEdge(limit selvage.ByteSize, body int) *edge {
	e := &edge{store: cache.NewStore(limit)}
	e.transport = cache.NewTransport(e.store, cache.Scope{
		Tenant: selvage.DefaultTenant, Service: "shop", Policy: selvage.Cache{TTL: selvage.Duration(time.Hour)},
	}, origin(body))
	e.req = (&http.Request{Method: http.MethodGet, Host: "shop.example", Header: http.Header{
		"Accept": {"*/*"}, "User-Agent": {"bench"}, "Accept-Encoding": {"gzip"},
	}, URL: &e.url, Body: http.NoBody}).WithContext(record.NewContext(context.Background(), &e.rec))
	e.req.URL = &e.url
	e.url = url.URL{Scheme: "http", Host: "shop.example"}
	return e
}

// ask asks for an object, reads it whole and says whether it was a hit. A miss
// is over when what it brought is stored.
func (e *edge) ask(k uint32) bool {
	e.path = strconv.AppendUint(append(e.path[:0], "/"...), 1_000_000_000+uint64(k), 10)
	e.url.Path = string(e.path)
	e.rec = record.Record{}
	res, err := e.transport.RoundTrip(e.req)
	if err != nil {
		panic(err) // the origin has no errors
	}
	if _, err := res.Body.(io.WriterTo).WriteTo(io.Discard); err != nil {
		panic(err)
	}
	res.Body.Close()
	if answer, ok := res.Body.(interface{ Recycle() }); ok { // as the node does
		answer.Recycle()
	}
	return e.rec.Cache.Hit
}

// costOf is what an object with such a body takes of a store.
func costOf(body selvage.ByteSize) selvage.ByteSize {
	const some = 1000
	e := newEdge(1<<30, int(body))
	defer e.store.Close()
	for k := range uint32(some) {
		e.ask(k)
	}
	for e.store.Stats().Flights > 0 {
		time.Sleep(time.Millisecond)
	}
	return selvage.ByteSize(e.store.Stats().Bytes / some)
}

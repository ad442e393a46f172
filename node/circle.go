package node

import (
	"net/http"
	"net/url"

	"github.com/selvage-edge/selvage/record"
)

// redirects says whether an answer may send the client elsewhere.
func redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// circles says whether a redirection sends the client to where it is already, as it
// is: the client would ask the same thing again, until it gives up (RFC 9110,
// section 15.4). With a cookie it asks something else, and what comes after a form
// was sent is another method. query is the request's.
func circles(rec *record.Record, query string, h http.Header) bool {
	to := h["Location"]
	if len(to) != 1 || len(h["Set-Cookie"]) > 0 || rec.Request.Method != http.MethodGet && rec.Request.Method != http.MethodHead {
		return false
	}
	here := &url.URL{Scheme: "http", Host: rec.Request.Host, RawQuery: query}
	if rec.Client.TLS != 0 {
		here.Scheme = "https"
	}
	var err error
	if here.Path, err = url.PathUnescape(rec.Request.Path); err != nil {
		return false
	}
	here.RawPath = rec.Request.Path
	there, err := here.Parse(to[0])
	return err == nil && there.Scheme == here.Scheme && there.Host == here.Host && there.EscapedPath() == here.EscapedPath() &&
		there.RawQuery == here.RawQuery
}

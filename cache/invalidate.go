package cache

import (
	"net/http"
	"net/url"
)

// isSafe says whether a method changes nothing at the origin. A method that
// nobody here knows may.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, methodQuery, "PROPFIND", "SEARCH", "REPORT":
		return true
	}
	return false
}

// invalidated lists what an answer to an unsafe method makes invalid (RFC 9111,
// section 4.4): the request's own URL, and those in Location and
// Content-Location on the same origin. An error makes nothing invalid.
func invalidated(scope *Scope, target Key, status int, h http.Header) []Key {
	if status < 200 || status > 399 {
		return nil
	}
	keys := []Key{target}
	base, err := url.Parse(target.Scheme + "://" + target.Host + target.Path)
	if err != nil {
		return keys
	}
	for _, name := range [...]string{"Location", "Content-Location"} {
		for _, value := range h[name] {
			u, err := base.Parse(value)
			if err != nil {
				continue
			}
			k := keyOfURL(scope, u.Scheme, u.Host, u)
			if k.Scheme == target.Scheme && k.Host == target.Host && k != target {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

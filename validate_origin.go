package selvage

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// origin checks a pool of endpoints or a folder.
func (c *checker) origin(at string, s *Service, o *Origin) {
	switch {
	case o.Function != "":
		c.functionOrigin(at, s, o)
		return
	case len(o.Endpoints) > 0 && o.Folder != "":
		c.keyMistake(at+".folder", "keep one of them", "it has both endpoints and a folder")
		return
	case o.Folder != "":
		c.noneOf(at, "folder", o)
		return
	case len(o.Endpoints) == 0:
		c.mistake(at, "add endpoints, folder or function", "it has neither endpoints nor a folder")
	}
	c.protocol(at, o, c.endpoints(at+".endpoints", o.Endpoints))
	c.weights(at+".weights", o)
	if o.Host != "keep" && o.Host != "endpoint" && !validHostPort(o.Host) {
		c.mistake(at+".host", "write keep, endpoint or a host name", "%q is not a host name", o.Host)
	}
	if o.Health != nil {
		c.health(at+".health", o.Health)
	}
	c.retry(at+".retry", &o.Retry)
	if o.Eject.Failures > 0 && o.Eject.For == 0 {
		c.mistake(at+".eject.for", "write how long, or failures: 0 to never eject", "an endpoint cannot be ejected for no time")
	}
	if o.Connections.Resolve == 0 {
		c.mistake(at+".connections.resolve", "write at least 1s", "names cannot be resolved without a pause")
	}
}

// endpoints checks the URLs of a pool and says which scheme they have, empty
// if that is not clear.
func (c *checker) endpoints(at string, endpoints []string) (scheme string) {
	unique(c, at, "endpoint", endpoints)
	for i, e := range endpoints {
		at := fmt.Sprintf("%s[%d]", at, i)
		u, err := url.Parse(e)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https":
			hint := "write a URL such as http://10.0.0.1:8080"
			if !strings.Contains(e, "://") && validHostPort(e) {
				hint = fmt.Sprintf("did you mean %q?", "http://"+e)
			}
			c.mistake(at, hint, "endpoint %q is not an http or https URL", e)
		case !validEndpointHost(u):
			c.mistake(at, "", "endpoint %q has no valid host and port", e)
		case u.User != nil:
			c.mistake(at, "set Authorization with headers.request.set of the route", "endpoint %q has a user", e)
		case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(e, "#"):
			c.mistake(at, "", "endpoint %q has a query or a fragment", e)
		case u.Path != "" && u.Path != "/":
			c.mistake(at, "put the path before the request's with rewrite of the route", "endpoint %q has a path", e)
		case scheme != "" && u.Scheme != scheme:
			c.mistake(at, "make them origins of their own", "endpoint %q has another scheme than the ones before it", e)
		default:
			scheme = u.Scheme
		}
	}
	return scheme
}

// maxWeight is the most that an endpoint may weigh.
const maxWeight = 1000

// weights checks that they are of the endpoints, and leave something to send to.
func (c *checker) weights(at string, o *Origin) {
	sum := 0
	for _, e := range o.Endpoints {
		if w, ok := o.Weights[e]; ok {
			sum += w
		} else {
			sum++
		}
	}
	for _, e := range slices.Sorted(maps.Keys(o.Weights)) {
		switch w := o.Weights[e]; {
		case !slices.Contains(o.Endpoints, e):
			c.keyMistake(at+"."+e, didYouMean(c, e, slices.Values(o.Endpoints)), "endpoint %q is not one of this origin", e)
		case w < 0 || w > maxWeight:
			c.mistake(at+"."+e, "", "a weight is from 0 to %d, not %d", maxWeight, w)
		}
	}
	if sum <= 0 && len(o.Weights) > 0 {
		c.mistake(at, "give one of them some", "every endpoint has the weight 0")
	}
}

func validEndpointHost(u *url.URL) bool {
	host := u.Hostname()
	if strings.Contains(host, ":") {
		a, err := netip.ParseAddr(host)
		if err != nil || !a.Is6() {
			return false
		}
	} else if !validHost(strings.ToLower(host)) {
		return false
	}
	return validPort(u.Port(), 1) || u.Port() == "" && !strings.HasSuffix(u.Host, ":")
}

// protocol checks that protocol, TLS settings and scheme go together.
func (c *checker) protocol(at string, o *Origin, scheme string) {
	switch {
	case o.Protocol == H2 && scheme == "http":
		c.mistake(at+".protocol", "without TLS it is h2c", "h2 needs https endpoints")
	case o.Protocol == H2C && scheme == "https":
		c.mistake(at+".protocol", "over TLS it is h2", "h2c needs http endpoints")
	}
	if o.TLS != (OriginTLS{}) && scheme == "http" {
		c.keyMistake(at+".tls", "take it away, or write https", "its endpoints have no TLS")
	}
	if (o.TLS.Certificate == "") != (o.TLS.Key == "") {
		c.mistake(at+".tls", "add the other one", "a client certificate and its key go together")
	}
	if n := o.TLS.ServerName; n != "" && !validHost(strings.ToLower(n)) {
		c.mistake(at+".tls.server_name", "", "%q is not a host name", n)
	}
}

func (c *checker) health(at string, h *Health) {
	if !strings.HasPrefix(h.Path, "/") || !visible(h.Path) || strings.Contains(h.Path, "#") {
		c.mistake(at+".path", "write a path such as /healthz", "%q is not a path", h.Path)
	}
	if h.Host != "" && !validHostPort(h.Host) {
		c.mistake(at+".host", "", "%q is not a host name", h.Host)
	}
	if h.Every == 0 {
		c.mistake(at+".every", "write at least 100ms, or leave health out", "endpoints cannot be asked without a pause")
	}
	if h.Timeout == 0 {
		c.mistake(at+".timeout", "", "a check that waits for nothing always fails")
	}
	if h.Status != 0 && h.Status < 200 {
		c.mistake(at+".status", "", "%d is not a final status", h.Status)
	}
}

func (c *checker) retry(at string, r *Retry) {
	unique(c, at+".statuses", "status", r.Statuses)
	for i, s := range r.Statuses {
		if s < 400 || s > 599 {
			c.mistake(fmt.Sprintf("%s.statuses[%d]", at, i), "write statuses from 400 to 599", "an answer of %d is not tried again", s)
		}
	}
}

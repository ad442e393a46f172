package selvage

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Validate finds what is wrong with a node beyond the form of its file. Paths
// are those of the file, such as listen[0].address.
func (n *Node) Validate() Problems {
	var c checker
	if n.Name != "" && !validHost(string(n.Name)) {
		c.mistake("name", "write it like a host name", "node %q is not a name", n.Name)
	}
	c.name("pop", "pop", string(n.POP))
	c.name("zone", "zone", string(n.Zone))
	c.addresses(n)
	c.admin(&n.Admin)
	c.certificates(n)
	c.limits(&n.Limits)
	if n.Cache.Memory <= 0 {
		c.mistake("cache.memory", "a route without cache stores nothing", "the memory for stored answers cannot be nothing")
	}
	c.nodeFunctions(&n.Functions)
	unique(&c, "trusted_proxies", "address", n.TrustedProxies)
	c.logPlace("access_log", "the access log", n.AccessLog)
	c.logPlace("function_log", "the log of functions", n.FunctionLog)
	c.secrets(n.Secrets)
	return c.problems
}

// addresses checks that every address can be listened on, and once.
func (c *checker) addresses(n *Node) {
	if len(n.Listen) == 0 {
		c.mistake("listen", "add {address: 127.0.0.1:8080}", "nobody can come in without a listener")
	}
	seen := map[string]string{}
	for i, l := range n.Listen {
		at := fmt.Sprintf("listen[%d]", i)
		unique(c, at+".proxy_protocol", "address", l.ProxyProtocol)
		c.address(at+".address", "a listener", l.Address, seen)
	}
	if n.Admin.Address != "off" {
		c.address("admin.address", "the admin listener", n.Admin.Address, seen)
	}
}

// address checks a host and a port. Port 0 is any free one, and never taken.
func (c *checker) address(at, what, address string, seen map[string]string) {
	if address == "" && strings.HasPrefix(at, "listen") {
		return // its absence is reported already
	}
	host, port, ok := cutPort(address)
	switch {
	case !ok || !validPort(port, 0):
		hint := "write a host and a port such as 127.0.0.1:8080, or :443 for all addresses"
		if validPort(address, 0) {
			hint = fmt.Sprintf("did you mean %q?", ":"+address)
		}
		c.mistake(at, hint, "%q is not an address", address)
	case host != "" && !validListenHost(host):
		c.mistake(at, "write an IP address, a name, or nothing for all addresses", "%q does not name a host", address)
	case seen[address] != "" && port != "0":
		c.mistake(at, "", "address %s belongs to %s already", address, seen[address])
	default:
		seen[address] = what
	}
}

func validListenHost(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && strings.HasSuffix(host, "]")
	}
	return validHost(strings.ToLower(host)) && !strings.Contains(host, ":")
}

func (c *checker) admin(a *Admin) {
	unique(c, "admin.tokens", "token", a.Tokens)
	for i, t := range a.Tokens {
		for _, role := range []string{"viewer:", "operator:", "admin:"} {
			t = strings.TrimPrefix(t, role)
		}
		hex := len(t) == 64
		for j := range len(t) {
			hex = hex && hexDigit(t[j])
		}
		if !hex {
			c.mistake(fmt.Sprintf("admin.tokens[%d]", i), "make it with `printf %s TOKEN | sha256sum`", "this is not a SHA-256 of 64 hexadecimal digits")
		}
	}
}

// certificates checks that listeners with TLS have something to show.
func (c *checker) certificates(n *Node) {
	for i, l := range n.Listen {
		if l.TLS && len(n.TLS.Certificates) == 0 && !n.TLS.Development {
			c.mistake(fmt.Sprintf("listen[%d].tls", i), "add tls.certificates, or tls.development: true on your own machine", "a listener with TLS needs a certificate")
		}
		if l.ClientCertificates != nil && !l.TLS {
			c.mistake(fmt.Sprintf("listen[%d].client_certificates", i), "add tls: true", "clients show certificates in a handshake of TLS, which this listener has not")
		}
	}
}

func (c *checker) limits(l *Limits) {
	for _, b := range []struct {
		key   string
		value ByteSize
	}{{"head", l.Head}, {"target", l.Target}, {"body", l.Body}} {
		if b.value <= 0 {
			c.mistake("limits."+b.key, "", "with a limit of nothing no request gets in")
		}
	}
	if l.Head > 0 && l.Target > l.Head {
		c.mistake("limits.target", "", "the target is a part of the head, whose limit is %s", l.Head)
	}
}

func (c *checker) logPlace(at, what, to string) {
	words := []string{"stdout", "stderr", "off"}
	if slices.Contains(words, to) {
		return
	}
	if !strings.Contains(to, "/") {
		hint := didYouMean(c, to, slices.Values(words))
		if hint == "" {
			hint = "write stdout, stderr, off, or a file with its folder such as ./access.log"
		}
		c.mistake(at, hint, "%q is not a place for %s", to, what)
	}
}

// secrets checks that each secret has a place, and somebody who may use it.
func (c *checker) secrets(secrets map[string]Secret) {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		s, at := secrets[name], "secrets."+name
		if !ValidSecretName(name) {
			c.keyMistake(at, "write lower-case letters, digits and hyphens", "secret %q is not a name", name)
		}
		if (s.File == "") == (s.Env == "") {
			c.mistake(at, "write either file or env", "secret %q needs one place where it is", name)
		}
		unique(c, at+".services", "service", s.Services)
		for i, service := range s.Services {
			c.name(fmt.Sprintf("%s.services[%d]", at, i), "service", string(service))
		}
	}
}

// ValidSecretName says whether ${secret:NAME} may have this name.
func ValidSecretName(s string) bool { return validName(s) }

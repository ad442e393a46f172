package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/selvage-edge/selvage"
)

// files checks the files that a configuration names and makes their paths
// absolute, so that nobody needs to know which folder they were relative to.
type files struct {
	expand   *expander
	problems selvage.Problems
}

func (f *files) mistake(at, hint, format string, args ...any) {
	f.problems = append(f.problems, selvage.Problem{Path: at, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// content reads a file and makes its path absolute; nil if that did not work.
func (f *files) content(at, subject string, path *string) []byte {
	if *path == "" {
		return nil
	}
	*path = resolve(f.expand.folder, *path)
	data, err := readBounded(*path)
	if err != nil {
		f.mistake(at, "", "%sfile %q: %v", subject, *path, err)
		return nil
	}
	f.expand.read = append(f.expand.read, *path)
	return data
}

// pair checks that a certificate and a key belong together.
func (f *files) pair(at, subject string, certificate, key *string) {
	place := at + ".certificate"
	if at == "certificate" { // the service's own
		place = at + ".chain"
	}
	chain := f.content(place, subject, certificate)
	if f.expand.deployed && f.expand.secret == nil {
		return // the key is a secret, which the nodes know
	}
	secret := []byte(*key)
	switch t := (selvage.OriginTLS{Key: *key}); {
	case t.HasKey():
	case f.expand.deployed && *key != "": // no machine's file is opened for it, nor named
		f.mistake(at+".key", "put the key's PEM file under secrets in the node file", "%sthe secret is not a private key", subject)
		return
	default:
		secret = f.content(at+".key", subject, key)
	}
	if chain == nil || secret == nil {
		return
	}
	if _, err := tls.X509KeyPair(chain, secret); err != nil {
		f.mistake(place, "", "%scertificate and key: %v", subject, err)
	}
}

func (doc *document) serviceFiles(s *selvage.Service) selvage.Problems {
	f := files{expand: doc.expand}
	f.pair("certificate", "", &s.TLS.Certificate, &s.TLS.Key)
	for _, name := range slices.Sorted(maps.Keys(s.Origins)) {
		o := s.Origins[name]
		f.origin("origins."+string(name), fmt.Sprintf("origin %q: ", name), &o)
		s.Origins[name] = o
	}
	for _, name := range slices.Sorted(maps.Keys(s.Functions)) {
		fn := s.Functions[name]
		f.function("functions."+string(name), fmt.Sprintf("function %q: ", name), &fn)
		s.Functions[name] = fn
	}
	for i := range s.Routes {
		r := &s.Routes[i]
		for j, rung := range r.OnFailure {
			if rung.Default != nil {
				at := fmt.Sprintf("routes[%d].on_failure[%d].default.file", i, j)
				rung.Default.Content = f.content(at, fmt.Sprintf("route %q: ", r.Label()), &rung.Default.File)
			}
		}
	}
	return f.problems
}

func (f *files) origin(at, subject string, o *selvage.Origin) {
	if o.Folder != "" {
		o.Folder = resolve(f.expand.folder, o.Folder)
		if info, err := os.Stat(o.Folder); err != nil {
			f.mistake(at+".folder", "", "%sfolder %q: %v", subject, o.Folder, plainError(err))
		} else if !info.IsDir() {
			f.mistake(at+".folder", "", "%sfolder %q: it is not a folder", subject, o.Folder)
		} else if d, err := os.Open(o.Folder); err != nil {
			f.mistake(at+".folder", "", "%sfolder %q: %v", subject, o.Folder, plainError(err))
		} else {
			d.Close()
		}
	}
	at += ".tls"
	if pem := f.content(at+".ca", subject, &o.TLS.CA); pem != nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		f.mistake(at+".ca", "write a PEM file", "%sfile %q has no certificate", subject, o.TLS.CA)
	}
	f.pair(at, subject, &o.TLS.Certificate, &o.TLS.Key)
}

// authorities checks that there is somebody to believe, as the listener does.
func (f *files) authorities(at string, c *selvage.ClientCertificates) {
	if c == nil {
		return
	}
	text := f.content(at, "", &c.Authorities)
	if text == nil {
		return
	}
	if _, err := selvage.ParseAuthorities(text); err != nil {
		f.mistake(at, "write a PEM file of certificates alone", "file %q: %v", c.Authorities, err)
	}
}

// secrets checks that each can be read.
func (f *files) secrets(secrets map[string]selvage.Secret) {
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		s := secrets[name]
		if s.File != "" {
			s.File = resolve(f.expand.folder, s.File)
			secrets[name] = s
		}
		if (s.File == "") == (s.Env == "") {
			continue // it is reported already
		}
		at := "secrets." + name + ".file"
		if s.Env != "" {
			at = "secrets." + name + ".env"
		}
		if _, err := readSecret(s, f.expand.env); err != nil {
			f.mistake(at, "", "secret %q: %v", name, err)
		} else if s.File != "" {
			f.expand.read = append(f.expand.read, s.File)
		}
	}
}

func (doc *document) nodeFiles(n *selvage.Node) selvage.Problems {
	f := files{expand: doc.expand}
	for i := range n.TLS.Certificates {
		c := &n.TLS.Certificates[i]
		f.pair(fmt.Sprintf("tls.certificates[%d]", i), "", &c.Certificate, &c.Key)
	}
	for i := range n.Listen {
		f.authorities(fmt.Sprintf("listen[%d].client_certificates.authorities", i), n.Listen[i].ClientCertificates)
	}
	f.secrets(n.Secrets)
	for i := range n.Functions.Geo {
		name := &n.Functions.Geo[i]
		*name = resolve(doc.expand.folder, *name)
		if info, err := os.Stat(*name); err != nil {
			f.mistake(fmt.Sprintf("compute.geo[%d]", i), "", "file %q: %v", *name, plainError(err))
		} else if !info.Mode().IsRegular() {
			f.mistake(fmt.Sprintf("compute.geo[%d]", i), "", "file %q: it is not a regular file", *name)
		}
	}
	if n.Data != "" {
		n.Data = resolve(doc.expand.folder, n.Data)
	}
	for _, log := range []*string{&n.AccessLog, &n.FunctionLog} {
		switch *log {
		case "stdout", "stderr", "off":
		default:
			*log = resolve(doc.expand.folder, *log)
		}
	}
	return f.problems
}

package main

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// statusPage writes how a node is for people. Every line fits 80 columns, but
// for names that people made longer.
type statusPage struct {
	w   io.Writer
	u   ui
	now time.Time
}

// row is a name and what is said of it; without a name it goes on with the one above.
func (p statusPage) row(name, format string, args ...any) {
	fmt.Fprintf(p.w, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
}

// head begins a block: the state's glyph, the subject, and the state in words.
func (p statusPage) head(g glyph, name, format string, args ...any) {
	pad := strings.Repeat(" ", max(0, 10-len(name)))
	fmt.Fprintf(p.w, "%s %s%s %s\n", p.u.sign(g), p.u.strong(name), pad, fmt.Sprintf(format, args...))
}

func (p statusPage) node(s *client.Status) {
	g := signOK
	if s.State != "ready" {
		g = signWatch
	}
	p.head(g, s.Node, "%s, up %s   POP %s, zone %s   %s", s.State, span(p.now.Sub(s.Started)), s.POP, s.Zone, p.u.dim("selvage "+s.Version))
	for _, l := range s.Listeners {
		scheme := "http"
		if l.TLS {
			scheme = "https"
		}
		at := l.Address
		if host, port, err := net.SplitHostPort(at); err == nil && (host == "::" || host == "0.0.0.0") {
			at = "*:" + port
		}
		p.row("listens", "%s://%s", scheme, at)
	}
	c := s.Connections
	p.row("clients", "%d HTTP/1.1, %d HTTP/2, %d of them upgraded", c.HTTP1, c.HTTP2, c.Upgraded)
	p.row("store", "%s, %s of %s", count(int(s.Cache.Objects), "object"), roundBytes(s.Cache.Bytes), roundBytes(s.Cache.MaxBytes))
	for i := range s.Services {
		fmt.Fprintln(p.w)
		p.service(&s.Services[i])
	}
}

func (p statusPage) service(s *client.Service) {
	g, words := judge(s)
	p.head(g, s.Service, "%s   %s, revision %s", words, count(s.Routes, "route"), s.Revision)
	owner := fmt.Sprintf("tier %d", s.Tier)
	if s.Owner != "" {
		owner = s.Owner + ", " + owner
	}
	p.row("owner", "%s", owner)
	p.row("hosts", "%s", hostList(s.Hosts))
	t := s.LastMinute
	if t.Requests == 0 {
		p.row("last 60 s", "no requests")
	} else {
		p.row("last 60 s", "%s, %s, %s", count(int(t.Requests), "request"),
			share(t.Bad, t.Requests, "bad", "bad"), share(t.Hits, t.Requests, "hit", "hits"))
		p.row("answered", "half within %s, 99 of 100 within %s", millis(t.P50MS), millis(t.P99MS))
		p.promises(s)
	}
	for _, o := range s.Origins {
		p.origin(&o)
	}
}

// promises compares the last minute with what the users were promised.
func (p statusPage) promises(s *client.Service) {
	kept := func(is bool) string {
		if is {
			return p.u.sign(signOK) + " kept:  "
		}
		return p.u.sign(signBad) + " missed:"
	}
	availability, latency := keeps(s)
	if o := s.Objectives; o.Availability > 0 {
		good := 1 - float64(s.LastMinute.Bad)/float64(s.LastMinute.Requests)
		p.row("promised", "%s %s of %s without an error", kept(availability), percent(good, 3), percent(o.Availability, 3))
	}
	if o := s.Objectives; o.P99MS > 0 {
		p.row("promised", "%s p99 %s of %s", kept(latency), millis(s.LastMinute.P99MS), millis(o.P99MS))
	}
}

// keeps says whether the last minute is within the objectives.
func keeps(s *client.Service) (availability, latency bool) {
	o, t := s.Objectives, s.LastMinute
	if t.Requests == 0 {
		return true, true
	}
	good := 1 - float64(t.Bad)/float64(t.Requests)
	return good >= o.Availability, o.P99MS == 0 || t.P99MS <= o.P99MS
}

func (p statusPage) origin(o *client.Origin) {
	if o.Folder != "" {
		p.row(o.Origin, "%s in    folder %s", p.u.sign(signOK), o.Folder)
		return
	}
	name := o.Origin
	for _, e := range o.Endpoints {
		at := e.Endpoint
		if e.Address != "" && !strings.Contains(e.Endpoint, e.Address) {
			at += " (" + e.Address + ")"
		}
		load := ""
		if e.State == "in" && e.LatencyMS > 0 {
			load = fmt.Sprintf("   %d in flight, %s", e.InFlight, millis(e.LatencyMS))
		}
		p.row(name, "%s %-5s %s%s", p.u.sign(endpointSign(e.State)), e.State, at, p.u.dim(load))
		why := e.Why
		if ago := p.now.Sub(e.LastErrorAt); why == "" && ago < time.Minute {
			why = span(ago) + " ago: " + e.LastError
		}
		if why != "" {
			p.row("", "        %s", why)
		}
		name = ""
	}
}

func endpointSign(state string) glyph {
	switch state {
	case "in":
		return signOK
	case "trying":
		return signWatch
	}
	return signBad
}

// judge says how a service is, in a few words: the worst that is known of it.
func judge(s *client.Service) (glyph, string) {
	var lame []string
	for _, o := range s.Origins {
		in := 0
		for _, e := range o.Endpoints {
			if e.State == "in" {
				in++
			}
		}
		if in == 0 && len(o.Endpoints) > 0 {
			return signBad, "origin " + o.Origin + " is down"
		}
		if in < len(o.Endpoints) {
			lame = append(lame, fmt.Sprintf("%d of %d endpoints of %s", in, len(o.Endpoints), o.Origin))
		}
	}
	availability, latency := keeps(s)
	t := s.LastMinute
	switch {
	case !availability || !latency:
		return signWatch, "misses what was promised"
	case s.Objectives.Availability == 0 && t.Bad > 0 && 100*t.Bad >= t.Requests:
		return signWatch, "requests go bad"
	case len(lame) > 0:
		return signWatch, "runs on " + strings.Join(lame, ", ")
	}
	return signOK, "ready"
}

// share is a part, and how much of the whole it is.
func share(part, whole int64, one, many string) string {
	switch part {
	case 0:
		return "no " + many
	case 1:
		many = one
	}
	return fmt.Sprintf("%s %s (%s)", grouped(part), many, percent(float64(part)/float64(whole), 1))
}

// percent is rounded so that only all of it is 100 %.
func percent(v float64, digits int) string {
	s := strconv.FormatFloat(100*v, 'f', digits, 64)
	s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + " %"
	if v < 1 && s == "100 %" {
		return "almost 100 %"
	}
	return s
}

// grouped is a number with a comma before every three digits.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func millis(ms float64) string {
	switch {
	case ms >= 60_000:
		return span(time.Duration(ms * float64(time.Millisecond)))
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// span is a length of time in its two largest units.
func span(d time.Duration) string {
	d = max(0, d) // their clock may be ahead of ours
	days, hours, minutes := int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60
	switch {
	case days > 0:
		return fmt.Sprintf("%d d %d h", days, hours)
	case hours > 0:
		return fmt.Sprintf("%d h %d min", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%d min %d s", minutes, int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

func roundBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + units[i]
}

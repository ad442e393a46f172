package fastly

import (
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// versions of the interface: there has been one.
const abiVersion = 1

// abiInit agrees on the version.
func abiInit(c *call) Status {
	if c.u64(0) != abiVersion {
		return Unsupported
	}
	return OK
}

// endpoint is an open log endpoint.
type endpoint struct {
	name string
	x    *exchange
}

// Write hands a line to who takes logs.
func (e *endpoint) Write(p []byte) (int, error) {
	e.x.abi.options.Log(e.x.whole, e.name, p)
	return len(p), nil
}

// logEndpoint opens an endpoint. The names of the platform's own are refused.
func logEndpoint(c *call) Status {
	name := c.short(0, maxKey)
	lower := strings.ToLower(name)
	if c.bad || name == "" || len(name) > maxKey || lower == "stdout" || lower == "stderr" || strings.HasPrefix(lower, "fst_managed_") {
		return Invalid
	}
	return c.giveOpened(opened{"endpoint", name}, &endpoint{name, c.x})
}

func logWrite(c *call) Status {
	e, ok := handle[*endpoint](c, 0)
	if !ok {
		return BadHandle
	}
	line := c.bytes(1)
	if c.bad {
		return Invalid
	}
	if c.x.abi.options.Log == nil {
		c.mem.Log(nil, line)
	} else {
		c.mem.Log(e, line)
	}
	c.put32(3, uint32(len(line)))
	return OK
}

// Place is where an address is, as guests read it (JSON). Empty fields are unknown.
type Place struct {
	ASName           string  `json:"as_name"`
	ASNumber         uint32  `json:"as_number"`
	AreaCode         uint16  `json:"area_code"`
	City             string  `json:"city"`
	ConnSpeed        string  `json:"conn_speed"`
	ConnType         string  `json:"conn_type"`
	Continent        string  `json:"continent"`
	CountryCode      string  `json:"country_code"`
	CountryCode3     string  `json:"country_code3"`
	CountryName      string  `json:"country_name"`
	GMTOffset        int     `json:"gmt_offset"` // as UTCOffset, by its older name
	Latitude         float64 `json:"latitude"`
	Longitude        float64 `json:"longitude"`
	MetroCode        int64   `json:"metro_code"`
	PostalCode       string  `json:"postal_code"`
	ProxyDescription string  `json:"proxy_description"`
	ProxyType        string  `json:"proxy_type"`
	Region           string  `json:"region"`
	UTCOffset        int     `json:"utc_offset"` // as hours and minutes: -330 is three hours and a half
}

// ip is the address whose bytes are at the parameters i and i+1.
func (c *call) ip(i int) (netip.Addr, bool) {
	if n := c.u32(i + 1); n != 4 && n != 16 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(c.bytes(i))
}

func geoLookup(c *call) Status {
	a, ok := c.ip(0)
	if !ok {
		return Invalid
	}
	if c.x.abi.options.Geo == nil {
		return None
	}
	place, ok := c.x.abi.options.Geo(a.Unmap())
	if !ok || math.IsNaN(place.Latitude) || math.IsNaN(place.Longitude) {
		return None
	}
	text, err := json.Marshal(place)
	if err != nil {
		return Failed
	}
	return answer(c, 2, text)
}

// ACL is an access control list. Safe for concurrent use.
type ACL interface {
	// Match is the entry that fits an address best; false if none does.
	Match(a netip.Addr) (ACLEntry, bool)
}

// ACLEntry is one entry of a list, as guests read it (JSON).
type ACLEntry struct {
	Prefix netip.Prefix
	Action string // ALLOW or BLOCK
}

// MarshalJSON has an address of IPv6 at its full length, as guests know it.
func (e ACLEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Prefix string `json:"prefix"`
		Action string `json:"action"`
	}{e.Prefix.Addr().StringExpanded() + "/" + strconv.Itoa(e.Prefix.Bits()), e.Action})
}

// Prefixes is a list that does not change: of the entries that contain an
// address, the narrowest counts.
type Prefixes []ACLEntry

// Match is the narrowest entry that contains the address.
func (p Prefixes) Match(a netip.Addr) (ACLEntry, bool) {
	best := -1
	for i, e := range p {
		if e.Prefix.Contains(a.Unmap()) && (best < 0 || e.Prefix.Bits() > p[best].Prefix.Bits()) {
			best = i
		}
	}
	if best < 0 {
		return ACLEntry{}, false
	}
	return p[best], true
}

// acl is an open list.
type acl struct{ ACL }

func aclOpen(c *call) Status {
	name := c.short(0, maxHeaderBytes)
	if c.bad {
		return Invalid
	}
	lists := c.x.abi.options.ACLs
	if lists == nil {
		return None
	}
	list, ok := lists(name)
	if !ok {
		return None
	}
	return c.giveOpened(opened{"acl", name}, &acl{list})
}

// The results of looking an address up.
const (
	aclFound   = 1
	aclNothing = 2
)

func aclLookup(c *call) Status {
	list, ok := handle[*acl](c, 0)
	if !ok {
		return BadHandle
	}
	a, ok := c.ip(1)
	if !ok {
		return Invalid
	}
	c.put32(3, invalidHandle)
	entry, ok := list.Match(a)
	if !ok {
		c.put32(4, aclNothing)
		return OK
	}
	text, err := json.Marshal(entry)
	if err != nil {
		return Failed
	}
	c.put32(4, aclFound)
	if c.bad {
		return Invalid
	}
	return c.giveBytes(3, text)
}

// The bits of a purge.
const (
	purgeSoft  = 1
	purgeReply = 2
)

// purgeKey purges what carries a key, in the guests' caches and in the edge's.
func purgeKey(c *call) Status {
	key, mask := c.short(0, maxKVKey), c.u32(2)
	switch {
	case c.bad, key == "", len(key) > maxKVKey, strings.ContainsAny(key, " \t\r\n"), mask&^(purgeSoft|purgeReply) != 0:
		return Invalid
	}
	soft := mask&purgeSoft != 0
	var f fields
	if mask&purgeReply != 0 {
		f = c.record(3, 12)
		c.at(f.u32(8), 4)
		c.at(f.u32(0), f.u32(4))
		if c.bad {
			return Invalid
		}
	}
	if objects := c.x.abi.options.Objects; objects != nil {
		objects.Purge(key, soft)
	}
	reply := purgeAnswer{Status: "ok"}
	if purge := c.x.abi.options.Purge; purge != nil {
		var err error
		if reply.ID, err = purge(c.ctx, key, soft); err != nil {
			return bodyStatus(err)
		}
	}
	if mask&purgeReply == 0 {
		return OK
	}
	text, err := json.Marshal(reply)
	if err != nil {
		return Failed
	}
	c.put32at(f.u32(8), uint32(len(text)))
	if uint32(len(text)) > f.u32(4) {
		return BufferLength // who asks again purges again, which changes nothing
	}
	copy(c.at(f.u32(0), uint32(len(text))), text)
	return OK
}

// purgeAnswer is what a guest reads of a purge (JSON).
type purgeAnswer struct {
	Status string `json:"status"`
	ID     string `json:"id,omitempty"`
}

func vcpuMS(c *call) Status {
	c.put64(0, uint64(c.mem.CPU()/time.Millisecond))
	return OK
}

// heapMiB is the linear memory and what the host holds for the guest, in MiB, rounded up.
func heapMiB(c *call) Status {
	c.x.held.mu.Lock()
	n := int64(c.mem.Size()) + c.x.held.used
	c.x.held.mu.Unlock()
	c.put32(0, uint32((n+1<<20-1)>>20))
	return OK
}

// agent is what a User-Agent says.
type agent struct {
	family, major, minor, patch string
}

// browsers are the products that name a browser, the more telling first: a
// browser claims to be those before it.
var browsers = []struct{ token, family string }{
	{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox iOS"},
	{"CriOS/", "Chrome Mobile iOS"}, {"Chrome/", "Chrome"}, {"Version/", "Safari"}, {"curl/", "curl"}, {"Wget/", "Wget"},
}

// parseAgent reads the product that names the browser, and its version.
func parseAgent(ua string) (agent, bool) {
	for _, b := range browsers {
		_, rest, ok := strings.Cut(ua, b.token)
		if !ok || b.family == "Safari" && !strings.Contains(ua, "Safari/") {
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end >= 0 {
			rest = rest[:end]
		}
		v := append(strings.SplitN(rest, ".", 4), "", "", "")
		return agent{b.family, v[0], v[1], v[2]}, true
	}
	return agent{}, false
}

// uapParse answers with four texts, each in a buffer of three parameters.
func uapParse(c *call) Status {
	a, ok := parseAgent(c.short(0, maxHeaderBytes))
	if c.bad {
		return Invalid
	}
	if !ok {
		a.family = "Other"
	}
	for i, v := range []string{a.family, a.major, a.minor, a.patch} {
		if status := answer(c, 2+3*i, v); status != OK {
			return status
		}
	}
	return OK
}

// deviceLookup says what the user's table has, or else what the User-Agent alone tells of a device.
func deviceLookup(c *call) Status {
	ua := c.short(0, maxHeaderBytes)
	if c.bad {
		return Invalid
	}
	if known := c.x.abi.options.Device; known != nil {
		if text, ok := known(ua); ok {
			return answer(c, 2, text)
		}
	}
	text, ok := deviceJSON(ua)
	if !ok {
		return None
	}
	return answer(c, 2, text)
}

// deviceJSON is what is known of a device, as guests read it.
func deviceJSON(ua string) ([]byte, bool) {
	has := func(tokens ...string) bool {
		for _, t := range tokens {
			if strings.Contains(ua, t) {
				return true
			}
		}
		return false
	}
	var d struct {
		Device struct {
			IsBot     bool `json:"is_bot"`
			IsDesktop bool `json:"is_desktop"`
			IsMobile  bool `json:"is_mobile"`
			IsTablet  bool `json:"is_tablet"`
			IsTV      bool `json:"is_tv"`
		} `json:"device"`
	}
	switch {
	case has("bot", "Bot", "crawler", "spider", "Spider"):
		d.Device.IsBot = true
	case has("SmartTV", "SMART-TV", "AppleTV", "BRAVIA"):
		d.Device.IsTV = true
	case has("iPad") || has("Android") && !has("Mobile"):
		d.Device.IsTablet = true
	case has("iPhone", "iPod", "Mobile"):
		d.Device.IsMobile = true
	case has("Windows NT", "Macintosh", "X11", "CrOS"):
		d.Device.IsDesktop = true
	default:
		return nil, false
	}
	text, err := json.Marshal(d)
	return text, err == nil
}

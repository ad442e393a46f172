// Package geo says where addresses are, by databases in the MaxMind DB format.
//
// Look at [Open] first: a [Databases] answers what programs of Fastly Compute
// ask. It promises that a database is read once, whole, so that nobody who
// changes its file can hurt a process that looks into it, and that a broken one
// is an error or says nothing. It refuses files of more than a GiB.
package geo

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// maxFile is how large a database may be, in bytes.
const maxFile = 1 << 30

// Databases are some databases, of which the first that knows a fact counts. It is
// safe for concurrent use; nil knows nothing.
type Databases struct {
	each  []*maxminddb.Reader
	zones sync.Map // name of a time zone → *time.Location; nil for one that is not known here
}

// Open reads databases. The error names the file.
func Open(files ...string) (*Databases, error) {
	if len(files) == 0 {
		return nil, nil //nolint:nilnil // no databases know nothing
	}
	d := &Databases{}
	for _, name := range files {
		r, err := open(name)
		if err != nil {
			return nil, fmt.Errorf("read database %s: %w", name, err)
		}
		d.each = append(d.each, r)
	}
	return d, nil
}

func open(name string) (*maxminddb.Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxFile)
	}
	return maxminddb.OpenBytes(data)
}

// entry is what the usual databases have of an address: those of cities, of
// countries, of autonomous systems and of connections.
type entry struct {
	City struct {
		Names names `maxminddb:"names"`
	} `maxminddb:"city"`
	Continent struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"continent"`
	Country struct {
		Code  string `maxminddb:"iso_code"`
		Names names  `maxminddb:"names"`
	} `maxminddb:"country"`
	Location struct {
		Latitude  float64 `maxminddb:"latitude"`
		Longitude float64 `maxminddb:"longitude"`
		Metro     uint32  `maxminddb:"metro_code"`
		Zone      string  `maxminddb:"time_zone"`
	} `maxminddb:"location"`
	Postal struct {
		Code string `maxminddb:"code"`
	} `maxminddb:"postal"`
	Subdivisions []struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
	ASN        uint32 `maxminddb:"autonomous_system_number"`
	ASName     string `maxminddb:"autonomous_system_organization"`
	Connection string `maxminddb:"connection_type"`
}

type names struct {
	English string `maxminddb:"en"`
}

// Find says where an address is; false if nobody knows anything of it.
func (d *Databases) Find(a netip.Addr) (fastly.Place, bool) {
	var p fastly.Place
	found := false
	if d == nil || !a.IsValid() {
		return p, false
	}
	for _, r := range d.each {
		result := r.Lookup(a)
		if !result.Found() {
			continue
		}
		var e entry
		if result.Decode(&e) != nil {
			continue // what cannot be read says nothing
		}
		found = true
		d.add(&p, &e)
	}
	return p, found
}

// add fills in what is not known yet.
func (d *Databases) add(p *fastly.Place, e *entry) {
	p.City = cmp.Or(p.City, e.City.Names.English)
	p.Continent = cmp.Or(p.Continent, e.Continent.Code)
	p.CountryCode = cmp.Or(p.CountryCode, e.Country.Code)
	p.CountryName = cmp.Or(p.CountryName, e.Country.Names.English)
	p.PostalCode = cmp.Or(p.PostalCode, e.Postal.Code)
	p.MetroCode = cmp.Or(p.MetroCode, int64(e.Location.Metro))
	p.ASNumber = cmp.Or(p.ASNumber, e.ASN)
	p.ASName = cmp.Or(p.ASName, e.ASName)
	p.ConnType = cmp.Or(p.ConnType, e.Connection)
	if len(e.Subdivisions) > 0 {
		p.Region = cmp.Or(p.Region, e.Subdivisions[0].Code)
	}
	if p.Latitude == 0 && p.Longitude == 0 {
		p.Latitude, p.Longitude = e.Location.Latitude, e.Location.Longitude
	}
	if zone := d.zone(e.Location.Zone); zone != nil && p.UTCOffset == 0 {
		_, seconds := time.Now().In(zone).Zone()
		p.UTCOffset = seconds/3600*100 + seconds%3600/60
		p.GMTOffset = p.UTCOffset
	}
}

// zone is a time zone; nil if there is none of that name. Databases have some hundred.
func (d *Databases) zone(name string) *time.Location {
	if name == "" || name == "Local" {
		return nil
	}
	if known, ok := d.zones.Load(name); ok {
		return known.(*time.Location)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		zone = nil
	}
	d.zones.Store(name, zone)
	return zone
}

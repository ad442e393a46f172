package geo

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// record is what a database has of a network.
type record struct {
	prefix string
	data   map[string]any
}

// database is a small one, as the format (version 2.0) has it: a binary tree with
// records of 24 bits, sixteen zeros, data, and metadata.
func database(records ...record) []byte {
	type node [2]int // 0: nothing; positive: a node; negative: what is at that place of the data
	tree := []node{{}}
	var data bytes.Buffer
	for _, r := range records {
		p := netip.MustParsePrefix(r.prefix)
		bits := p.Addr().As16()
		length := p.Bits()
		if p.Addr().Is4() {
			bits, length = [16]byte{}, length+96
			v4 := p.Addr().As4()
			copy(bits[12:], v4[:])
		}
		at := 0
		for i := range length {
			side := int(bits[i/8] >> (7 - i%8) & 1)
			if i == length-1 {
				tree[at][side] = -data.Len() - 1
				break
			}
			if tree[at][side] == 0 {
				tree = append(tree, node{})
				tree[at][side] = len(tree) - 1
			}
			at = tree[at][side]
		}
		put(&data, r.data)
	}
	var out bytes.Buffer
	for _, n := range tree {
		for _, to := range n {
			v := len(tree) // nothing
			switch {
			case to > 0:
				v = to
			case to < 0:
				v = len(tree) + 16 - to - 1
			}
			out.Write([]byte{byte(v >> 16), byte(v >> 8), byte(v)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	put(&out, map[string]any{
		"binary_format_major_version": uint32(2), "binary_format_minor_version": uint32(0), "build_epoch": uint32(1),
		"database_type": "Test", "ip_version": uint32(6), "node_count": uint32(len(tree)), "record_size": uint32(24),
		"languages": []any{"en"}, "description": map[string]any{"en": "test"},
	})
	return out.Bytes()
}

// put writes a value.
func put(b *bytes.Buffer, v any) {
	control := func(kind, size int) {
		first, more := byte(kind<<5), []byte(nil)
		if kind > 7 {
			first, more = 0, []byte{byte(kind - 7)}
		}
		if size < 29 {
			b.WriteByte(first | byte(size))
			b.Write(more)
			return
		}
		b.WriteByte(first | 29)
		b.Write(more)
		b.WriteByte(byte(size - 29))
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		b.WriteString(v)
	case float64:
		control(3, 8)
		_ = binary.Write(b, binary.BigEndian, math.Float64bits(v))
	case uint32:
		control(6, 4)
		_ = binary.Write(b, binary.BigEndian, v)
	case []any:
		control(11, len(v))
		for _, item := range v {
			put(b, item)
		}
	case map[string]any:
		control(7, len(v))
		var keys []string
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			put(b, k)
			put(b, v[k])
		}
	default:
		panic("a type that no database has")
	}
}

// file writes a database to a file.
func file(t testing.TB, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "test.mmdb")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

var bern = record{"192.0.2.0/24", map[string]any{
	"city":         map[string]any{"names": map[string]any{"en": "Bern", "de": "Bern"}},
	"country":      map[string]any{"iso_code": "CH", "names": map[string]any{"en": "Switzerland"}},
	"continent":    map[string]any{"code": "EU"},
	"location":     map[string]any{"latitude": 46.9, "longitude": 7.4, "time_zone": "Asia/Kolkata"},
	"postal":       map[string]any{"code": "3000"},
	"subdivisions": []any{map[string]any{"iso_code": "BE"}},
}}

func TestDatabasesSayWhereAnAddressIs(t *testing.T) {
	cities := file(t, database(bern, record{"2001:db8::/32", map[string]any{"city": map[string]any{"names": map[string]any{"en": "Thun"}}}}))
	systems := file(t, database(record{"192.0.2.128/25", map[string]any{
		"autonomous_system_number": uint32(64500), "autonomous_system_organization": "Example", "connection_type": "Cable/DSL",
		"continent": map[string]any{"code": "not asked"},
	}}))
	d, err := Open(cities, systems)
	if err != nil {
		t.Fatal(err)
	}
	want := fastly.Place{
		City: "Bern", CountryCode: "CH", CountryName: "Switzerland", Continent: "EU", Latitude: 46.9, Longitude: 7.4,
		PostalCode: "3000", Region: "BE", GMTOffset: 530, UTCOffset: 530, // zones of India do not change
	}
	if got, ok := d.Find(netip.MustParseAddr("192.0.2.1")); got != want || !ok {
		t.Errorf("got %+v, want %+v", got, want)
	}
	want.ASNumber, want.ASName, want.ConnType = 64500, "Example", "Cable/DSL"
	for range 2 { // what is remembered is the same
		if got, ok := d.Find(netip.MustParseAddr("192.0.2.200")); got != want || !ok {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if got, ok := d.Find(netip.MustParseAddr("2001:db8::1")); got.City != "Thun" || !ok {
		t.Errorf("got %+v", got)
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("192.0.3.1"), netip.MustParseAddr("::1"), {}} {
		if got, ok := d.Find(a); ok {
			t.Errorf("%s: got %+v", a, got)
		}
	}
	var none *Databases
	if _, ok := none.Find(netip.MustParseAddr("192.0.2.1")); ok {
		t.Error("no databases know something")
	}
}

func TestWhatIsNoDatabaseIsAnError(t *testing.T) {
	whole := database(bern)
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "cut": whole[:len(whole)-20]} {
		at := file(t, data)
		if _, err := Open(at); err == nil || !strings.HasPrefix(err.Error(), "read database "+at+": ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is opened")
	}
}

func FuzzDatabase(f *testing.F) {
	whole := database(bern)
	f.Add(whole)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Open(file(t, data))
		if err != nil {
			return
		}
		for _, a := range []string{"192.0.2.1", "2001:db8::1", "255.255.255.255"} {
			if p, ok := d.Find(netip.MustParseAddr(a)); !ok && p != (fastly.Place{}) {
				t.Errorf("nothing is known of %s, and it is %+v", a, p)
			}
		}
	})
}

package selvage

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time with its unit: 250ms, 5s, 1m30s, 12h, 7d.
type Duration time.Duration

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalText reads a duration. It refuses negative ones and bare numbers.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 31)
		if err != nil || n > uint64(math.MaxInt64/(24*time.Hour)) {
			return fmt.Errorf("%q is not a duration: write 250ms, 5s, 1m30s, 12h or 7d", s)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 || (v == 0 && s != "0s") {
		return fmt.Errorf("%q is not a duration: write 250ms, 5s, 1m30s, 12h or 7d", s)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the shortest exact form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the shortest exact form: 90s is 1m30s, 3600s is 1h.
func (d Duration) String() string {
	v := time.Duration(d)
	if v != 0 && v%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(v/(24*time.Hour)), 10) + "d"
	}
	s := v.String()
	if short, ok := strings.CutSuffix(s, "m0s"); ok {
		s = short + "m"
	}
	if short, ok := strings.CutSuffix(s, "h0m"); ok {
		s = short + "h"
	}
	return s
}

// ByteSize is an amount of bytes with its unit: 512B, 64KiB, 10MB, 1GiB.
type ByteSize int64

var byteUnits = []struct {
	name string
	size int64
}{
	{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1},
}

// UnmarshalText reads an amount of bytes. It refuses bare and negative numbers.
func (b *ByteSize) UnmarshalText(text []byte) error {
	s := string(text)
	for _, u := range byteUnits {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil || n > uint64(math.MaxInt64/u.size) {
			break
		}
		*b = ByteSize(int64(n) * u.size)
		return nil
	}
	return fmt.Errorf("%q is not an amount of bytes: write 512B, 64KiB, 10MB or 1GiB", s)
}

// MarshalText writes the largest binary unit that divides the amount.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String is the amount in the largest binary unit that divides it.
func (b ByteSize) String() string {
	for _, u := range byteUnits[:3] {
		if b != 0 && int64(b)%u.size == 0 {
			return strconv.FormatInt(int64(b)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10) + "B"
}

// Rate is a number of requests in a period: 20/s, 600/m, 1000/h.
type Rate struct {
	Requests int64
	Per      time.Duration
}

var ratePeriods = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// UnmarshalText reads a rate. It refuses zero: a route that nobody may use says so with access.
func (r *Rate) UnmarshalText(text []byte) error {
	n, unit, _ := strings.Cut(string(text), "/")
	v, err := strconv.ParseInt(n, 10, 32)
	per, ok := ratePeriods[unit]
	if err != nil || v <= 0 || !ok {
		return fmt.Errorf("%q is not a rate: write 20/s, 600/m or 1000/h", text)
	}
	*r = Rate{v, per}
	return nil
}

// MarshalText writes the rate as it is read.
func (r Rate) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// String is the rate as it is written in a file; the zero rate is empty.
func (r Rate) String() string {
	for unit, per := range ratePeriods {
		if per == r.Per {
			return strconv.FormatInt(r.Requests, 10) + "/" + unit
		}
	}
	return ""
}

// Percent is a share between 0% and 100%, kept as a fraction of one.
type Percent float64

// UnmarshalText reads a share with its sign: 99.9%.
func (p *Percent) UnmarshalText(text []byte) error {
	s, ok := strings.CutSuffix(string(text), "%")
	v, err := strconv.ParseFloat(s, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf("%q is not a share: write 10%% or 99.9%%", text)
	}
	*p = Percent(math.Round(v*1e8) / 1e10) // as many digits as String writes
	return nil
}

// MarshalText writes the share with its sign.
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// String is the share with its sign, without digits that only rounding made.
func (p Percent) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*1e10)/1e8, 'f', -1, 64) + "%"
}

// Prefix is a range of addresses: 10.0.0.0/8, 2001:db8::/32, or one address.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads a prefix. It refuses one with bits set behind its length.
func (p *Prefix) UnmarshalText(text []byte) error {
	s := string(text)
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	v, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is not an address or a prefix: write 192.0.2.7 or 10.0.0.0/8", s)
	}
	if v.Addr().Is4In6() {
		return fmt.Errorf("%q is an IPv4 range written as IPv6: write 10.0.0.0/8", s)
	}
	if v != v.Masked() {
		return fmt.Errorf("%q has bits set behind its length: did you mean %s?", s, v.Masked())
	}
	p.Prefix = v
	return nil
}

// MarshalText writes one address without its length.
func (p Prefix) MarshalText() ([]byte, error) {
	if !p.IsValid() {
		return nil, errors.New("empty prefix")
	}
	if p.IsSingleIP() {
		return []byte(p.Addr().String()), nil
	}
	return []byte(p.String()), nil
}

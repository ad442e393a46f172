package selvage

import (
	"encoding"
	"strings"
	"testing"
	"time"
)

// texter is what every scalar is.
type texter interface {
	encoding.TextUnmarshaler
	encoding.TextMarshaler
}

// scalars are empty values of every scalar type, by name.
var scalars = map[string]func() texter{
	"duration": func() texter { return new(Duration) },
	"bytes":    func() texter { return new(ByteSize) },
	"rate":     func() texter { return new(Rate) },
	"percent":  func() texter { return new(Percent) },
	"prefix":   func() texter { return new(Prefix) },
	"log":      func() texter { return new(LogChoice) },
}

func TestScalarsAreReadAndWritten(t *testing.T) {
	for _, c := range []struct{ kind, text, want string }{ // want is "" where it is refused
		{"duration", "250ms", "250ms"}, {"duration", "90s", "1m30s"}, {"duration", "3600s", "1h"}, {"duration", "24h", "1d"}, {"duration", "7d", "7d"},
		{"duration", "0s", "0s"}, {"duration", "1.5s", "1.5s"}, {"duration", "10m", "10m"}, {"duration", "1h10m", "1h10m"}, {"duration", "100h", "100h"}, {"duration", "106751d", "106751d"},
		{"duration", "40000d", "40000d"}, {"duration", "960000h", "40000d"},
		{"duration", "", ""}, {"duration", "5", ""}, {"duration", "0", ""}, {"duration", "-1s", ""}, {"duration", "1.5d", ""}, {"duration", "-1d", ""}, {"duration", "106752d", ""}, {"duration", "99999999999999d", ""}, {"duration", "5 s", ""}, {"duration", "0ms", ""},
		{"bytes", "512B", "512B"}, {"bytes", "64KiB", "64KiB"}, {"bytes", "65536B", "64KiB"}, {"bytes", "10MB", "10000000B"}, {"bytes", "1024MiB", "1GiB"}, {"bytes", "0B", "0B"}, {"bytes", "1 GiB", "1GiB"}, {"bytes", "5kB", "5000B"},
		{"bytes", "", ""}, {"bytes", "5", ""}, {"bytes", "5iB", ""}, {"bytes", "-5B", ""}, {"bytes", "1.5MB", ""}, {"bytes", "9223372036854775807B", "9223372036854775807B"}, {"bytes", "9223372036854775808B", ""}, {"bytes", "9999999999GiB", ""},
		{"rate", "20/s", "20/s"}, {"rate", "600/m", "600/m"}, {"rate", "1/h", "1/h"}, {"rate", "0/s", ""}, {"rate", "-1/s", ""}, {"rate", "20", ""}, {"rate", "20/d", ""}, {"rate", "2147483648/s", ""}, {"rate", "1/s/s", ""}, {"rate", "", ""},
		{"percent", "10%", "10%"}, {"percent", "99.9%", "99.9%"}, {"percent", "99.999%", "99.999%"}, {"percent", "0%", "0%"}, {"percent", "100%", "100%"}, {"percent", "33.33333333%", "33.33333333%"}, {"percent", "0.0000000001%", "0%"},
		{"percent", "10", ""}, {"percent", "-1%", ""}, {"percent", "100.1%", ""}, {"percent", "NaN%", ""}, {"percent", "Inf%", ""}, {"percent", "%", ""}, {"percent", "1%%", ""},
		{"prefix", "10.0.0.0/8", "10.0.0.0/8"}, {"prefix", "192.0.2.7", "192.0.2.7"}, {"prefix", "192.0.2.7/32", "192.0.2.7"}, {"prefix", "2001:db8::/32", "2001:db8::/32"}, {"prefix", "::1", "::1"}, {"prefix", "0.0.0.0/0", "0.0.0.0/0"}, {"prefix", "::ffff:192.0.2.7", "192.0.2.7"},
		{"prefix", "10.0.0.1/8", ""}, {"prefix", "10.0.0.0/33", ""}, {"prefix", "fe80::1%eth0", ""}, {"prefix", "shop.example", ""}, {"prefix", "", ""}, {"prefix", "::ffff:10.0.0.0/104", ""},
		{"log", "all", "all"}, {"log", "errors", "errors"}, {"log", "none", "none"}, {"log", "1%", "1%"}, {"log", "100%", "all"}, {"log", "0%", ""}, {"log", "some", ""}, {"log", "", ""},
	} {
		v := scalars[c.kind]()
		err := v.UnmarshalText([]byte(c.text))
		if c.want == "" {
			if err == nil || !strings.Contains(err.Error(), `"`+c.text+`"`) {
				t.Errorf("%s %q: got %v, %v, want an error that repeats it", c.kind, c.text, v, err)
			}
			continue
		}
		got, writeErr := v.MarshalText()
		if err != nil || writeErr != nil || string(got) != c.want {
			t.Errorf("%s %q: got %q, %v, %v, want %q", c.kind, c.text, got, err, writeErr, c.want)
		}
	}
}

func TestMistakesInScalarsSayWhatToWrite(t *testing.T) {
	for kind, want := range map[string]string{
		"duration": `"x" is not a duration: write 250ms, 5s, 1m30s, 12h or 7d`,
		"bytes":    `"x" is not an amount of bytes: write 512B, 64KiB, 10MB or 1GiB`,
		"rate":     `"x" is not a rate: write 20/s, 600/m or 1000/h`,
		"percent":  `"x" is not a share: write 10% or 99.9%`,
		"prefix":   `"x" is not an address or a prefix: write 192.0.2.7 or 10.0.0.0/8`,
		"log":      `"x" does not say what is logged: write all, errors, none or a share such as 1%`,
	} {
		if err := scalars[kind]().UnmarshalText([]byte("x")); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", kind, err, want)
		}
	}
	var p Prefix
	want := `"10.0.0.1/8" has bits set behind its length: did you mean 10.0.0.0/8?`
	if err := p.UnmarshalText([]byte("10.0.0.1/8")); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestZeroScalarsHaveAText(t *testing.T) {
	for want, got := range map[string]string{
		"0s": Duration(0).String(), "0B": ByteSize(0).String(), "": Rate{}.String(), "0%": Percent(0).String(),
		"1m": Duration(time.Minute).String(), "20/s": Rate{20, time.Second}.String(),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if text, err := (Prefix{}).MarshalText(); err == nil {
		t.Errorf("the empty prefix is written as %q", text)
	}
	if got := Duration(1500 * time.Millisecond).Std(); got != 1500*time.Millisecond {
		t.Errorf("got %v", got)
	}
}

// FuzzScalars checks that what is read is the same after it was written and
// read again, for every type.
func FuzzScalars(f *testing.F) {
	for _, s := range []string{"1d", "1m30s", "0.1us", "64KiB", "1 B", "20/s", "99.9%", "1e-7%", "10.0.0.0/8", "::ffff:1.2.3.4", "::ffff:1.2.3.0/120", "all", "0x1p-2%", "2562047h47m16s", "+5/s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for kind, empty := range scalars {
			v, again := empty(), empty()
			if v.UnmarshalText([]byte(text)) != nil {
				continue
			}
			written, err := v.MarshalText()
			if err != nil {
				t.Fatalf("%s %q is read but not written: %v", kind, text, err)
			}
			if err := again.UnmarshalText(written); err != nil {
				t.Fatalf("%s %q is written as %q and not read again: %v", kind, text, written, err)
			}
			twice, err := again.MarshalText()
			if err != nil || string(twice) != string(written) || !equal(v, again) {
				t.Fatalf("%s %q is %v, written %q, and read again %v, written %q", kind, text, v, written, again, twice)
			}
		}
	})
}

func equal(a, b texter) bool {
	switch a := a.(type) {
	case *Duration:
		return *a == *b.(*Duration)
	case *ByteSize:
		return *a == *b.(*ByteSize)
	case *Rate:
		return *a == *b.(*Rate)
	case *Percent:
		return *a == *b.(*Percent)
	case *Prefix:
		return *a == *b.(*Prefix)
	case *LogChoice:
		return *a == *b.(*LogChoice)
	}
	return false
}

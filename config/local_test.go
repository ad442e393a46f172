package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

func parseTest(t *testing.T, text string) selvage.Service {
	t.Helper()
	var s selvage.Service
	if _, problems := readTest("shop.yaml", []byte(text), &s); len(problems) > 0 {
		t.Fatal(problems)
	}
	return s
}

func TestLocalManifestGivesTheServiceAgainAndNoOtherMachineTakesIt(t *testing.T) {
	for _, text := range []string{goodService, fullService} {
		s := parseTest(t, text)
		data, err := PackLocal(s, selvage.Outside{})
		if err != nil {
			t.Fatal(err)
		}
		again, err := UnpackLocal(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, again, samePrefix); diff != "" {
			t.Errorf("another service (-packed +unpacked):\n%s", diff)
		}
		if !IsLocal(data) {
			t.Error("it is not known as local")
		}
		if _, err := ReadManifest(data); selvage.KindOf(err) != selvage.Invalid || err == nil {
			t.Errorf("read as one that is deployed: %v", err)
		}
	}
}

func TestDifferencesAreByPartsNotByLines(t *testing.T) {
	const before = `service: shop
hosts: [shop.example]
origins: {web: {endpoints: [http://10.0.0.1:8080]}, old: {endpoints: [http://10.0.0.3:8080]}}
routes:
  - {match: {path: /gone}, origin: old}
  - {match: {path: /a}, origin: web}
  - {match: {path: /b}, origin: web}
  - {match: {path: /*}, origin: web, cache: {ttl: 60s}}
`
	const after = `service: shop
hosts: [shop.example, www.shop.example]
origins: {web: {endpoints: [http://10.0.0.1:8080], timeout: {connect: 2s}}, api: {endpoints: [http://10.0.0.4:8080]}}
routes:
  - {match: {path: /b}, origin: web}
  - {match: {path: /a}, origin: web}
  - {match: {path: /api/*}, origin: api}
  - {match: {path: /*}, origin: web, cache: {ttl: 5s}}
`
	var got []string
	for _, d := range Differences(Written{Service: parseTest(t, before)}, Written{Service: parseTest(t, after)}) {
		got = append(got, d.Sign+" "+d.Part+": "+d.Words)
	}
	want := []string{
		`changed service: hosts ["shop.example"] -> ["shop.example","www.shop.example"]`,
		"added origin api: is new",
		"removed origin old: is removed",
		"changed origin web: timeout.connect 1s -> 2s",
		"moved route /a: is looked at later than before",
		"added route /api/*: is new",
		"changed route /*: cache.ttl 1m -> 5s",
		"removed route /gone: is removed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if same := Differences(Written{Service: parseTest(t, after)}, Written{Service: parseTest(t, strings.ReplaceAll(after, ", ", ",  "))}); len(same) > 0 {
		t.Errorf("spaces are a difference: %v", same)
	}
}

// outsideService has values from elsewhere in places of many kinds.
const outsideService = `service: shop
hosts: ["${env:SELVAGE_TEST_HOST}"]
origins: {web: {endpoints: ["http://${file:host.txt}:8080"], folder: ""}}
routes:
  - match: {path: /a}
    origin: web
    headers: {request: {set: {X-Key: "Bearer ${env:SELVAGE_TEST_KEY} $${more}", X-Own: "$${env:X}"}}}
  - match: {path: /*}
    origin: web
    cache: {ttl: "${env:SELVAGE_TEST_TTL}"}
`

func loadOutside(t *testing.T) (*Loaded, string) {
	t.Helper()
	t.Setenv("SELVAGE_TEST_HOST", "hidden.example")
	t.Setenv("SELVAGE_TEST_KEY", "hidden-key")
	t.Setenv("SELVAGE_TEST_TTL", "1234s")
	text := strings.Replace(outsideService, `, folder: ""`, "", 1)
	folder := writeFiles(t, map[string]string{"shop.yaml": text, "host.txt": "hidden-host.example\n"})
	l, err := Load("", []string{filepath.Join(folder, "shop.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	return l, folder
}

func TestLocalManifestHoldsNoValuesFromElsewhere(t *testing.T) {
	l, folder := loadOutside(t)
	data, err := PackLocal(l.Services[0], l.Outside["shop"])
	if err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"hidden", "1234s", "20m34s"} {
		if strings.Contains(string(data), hidden) {
			t.Errorf("%q is in %s", hidden, data)
		}
	}
	again, err := UnpackLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(l.Services[0], again, samePrefix); diff != "" {
		t.Errorf("another service (-packed +unpacked):\n%s", diff)
	}
	_, id, err := ReadLocal(data)
	if err != nil || id != Revision(l.Services[0]) {
		t.Errorf("revision %q, %v, want %s", id, err, Revision(l.Services[0]))
	}
	if err := os.WriteFile(filepath.Join(folder, "host.txt"), []byte("other.example"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = UnpackLocal(data)
	if selvage.KindOf(err) != selvage.Invalid || !strings.Contains(err.Error(), "put it back") || strings.Contains(err.Error(), "other") {
		t.Errorf("with another value: got %v", err)
	}
}

func TestDifferencesTellNoValuesFromElsewhere(t *testing.T) {
	l, _ := loadOutside(t)
	data, err := PackLocal(l.Services[0], l.Outside["shop"])
	if err != nil {
		t.Fatal(err)
	}
	before, _, err := ReadLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	deployed := writeFiles(t, map[string]string{"shop.yaml": `service: shop
hosts: [shop.example]
origins: {web: {endpoints: ["http://10.0.0.1:8080"]}}
routes:
  - {match: {path: /new}, origin: web}
  - match: {path: /a}
    origin: web
    headers: {request: {set: {X-Key: "Token ${secret:shop-key}", X-Own: "$${env:X}"}}}
  - {match: {path: /*}, origin: web, cache: {ttl: 5s}}
`})
	var got []string
	for _, d := range Differences(before, pack(t, deployed).Manifest.Written()) {
		got = append(got, d.Words+" "+d.Old+" "+d.New)
	}
	text := strings.Join(got, "\n")
	for _, hidden := range []string{"hidden", "1234s", "20m34s", "secret-shop-key"} {
		if strings.Contains(text, hidden) {
			t.Errorf("%q is in %s", hidden, text)
		}
	}
	for _, want := range []string{
		"headers.request.set.X-Key Bearer ${env:SELVAGE_TEST_KEY} $${more} -> Token ${secret:shop-key}",
		"cache.ttl ${env:SELVAGE_TEST_TTL} -> 5s", `hosts ["${env:SELVAGE_TEST_HOST}"] -> ["shop.example"]`,
		`endpoints ["http://${file:host.txt}:8080"]`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "X-Own") {
		t.Errorf("what is the same is a difference: %s", text)
	}
}

func TestWeightsAloneAreAChangeOfTheirKind(t *testing.T) {
	const before = `service: shop
hosts: [shop.example]
origins: {web: {endpoints: [http://10.0.0.1:8080, http://10.0.0.2:8080], weights: {"http://10.0.0.2:8080": 0}}}
routes: [{match: {path: /*}, origin: web, cache: {ttl: 60s}}]
`
	for _, c := range []struct {
		from, to string
		want     selvage.ChangeKind
	}{
		{`10.0.0.2:8080": 0`, `10.0.0.2:8080": 3`, selvage.WeightChange},
		{`, weights: {"http://10.0.0.2:8080": 0}`, "", selvage.WeightChange},
		{"60s", "61s", selvage.RevisionChange},
		{"0}}}\nroutes: [{match: {path: /*}, origin: web, cache: {ttl: 60s", "1}}}\nroutes: [{match: {path: /*}, origin: web, cache: {ttl: 61s", selvage.RevisionChange},
		{"http://10.0.0.2:8080]", "http://10.0.0.2:8080, http://10.0.0.3:8080]", selvage.RevisionChange},
		{"", "", selvage.RevisionChange},
	} {
		after := strings.Replace(before, c.from, c.to, 1)
		if got := KindOf(Written{Service: parseTest(t, before)}, Written{Service: parseTest(t, after)}); got != c.want {
			t.Errorf("%s -> %s: a change of kind %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

func TestACertificateAloneIsAChangeOfItsKind(t *testing.T) {
	const before = "service: shop\nhosts: [shop.example]\norigins: {web: {endpoints: [http://10.0.0.1:8080]}}\nroutes: [{match: {path: /*}, origin: web}]\n"
	old, next := parseTest(t, before), parseTest(t, before)
	next.TLS = selvage.ServiceTLS{Certificate: "blob:1/a.pem", Key: "${secret:a}"}
	if got := KindOf(Written{Service: old}, Written{Service: next}); got != selvage.CertificateChange {
		t.Errorf("a change of kind %s", got)
	}
	if d := Differences(Written{Service: old}, Written{Service: next}); len(d) != 1 || d[0].Words != "another certificate is shown" {
		t.Errorf("differences %+v", d)
	}
	renewed := next
	renewed.TLS = selvage.ServiceTLS{Certificate: "blob:2/a.pem", Key: "${secret:b}"}
	if got := KindOf(Written{Service: next}, Written{Service: renewed}); got != selvage.CertificateChange {
		t.Errorf("a renewed one is a change of kind %s", got)
	}
	next.Owner = "ops"
	if got := KindOf(Written{Service: old}, Written{Service: next}); got != selvage.RevisionChange {
		t.Errorf("with another owner it is of kind %s", got)
	}
}

func TestAWeightHasAPlaceInTheFile(t *testing.T) {
	_, err := ParseService("shop.yaml", []byte(`service: shop
hosts: [shop.example]
origins:
  web:
    endpoints: [http://10.0.0.1:8080]
    weights:
      http://10.0.0.2:8080: 3
routes: [{match: {path: /*}, origin: web}]
`))
	if err == nil || !strings.HasPrefix(err.Error(), `shop.yaml:7:7: origin "web": endpoint "http://10.0.0.2:8080" is not one of this origin`) {
		t.Errorf("got %v", err)
	}
}

// What a node read from its file and the same file deployed differ in nothing: not in how
// their files are named, of which nobody is told where they are.
func TestAFileOfTheMachineIsComparedByWhatIsInIt(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"sorry.html": "sorry", "site/index.html": "hello", "shop.yaml": `service: shop
hosts: ["*"]
origins: {web: {endpoints: [http://10.0.0.1]}, site: {folder: ./site}}
routes:
  - {match: {path: /s/*}, origin: site}
  - {match: {path: /*}, origin: web, on_failure: [{default: {status: 503, file: ./sorry.html}}]}
`} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Load("", []string{filepath.Join(dir, "shop.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	data, err := PackLocal(l.Services[0], l.Outside["shop"])
	if err != nil {
		t.Fatal(err)
	}
	local, _, err := ReadLocal(data)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Pack(filepath.Join(dir, "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := Differences(local.Shipped(), b.Manifest.Written()); len(got) > 0 {
		t.Errorf("they differ: %+v", got)
	}
	for _, gone := range []bool{false, true} {
		if gone {
			if err := os.Remove(filepath.Join(dir, "sorry.html")); err != nil {
				t.Fatal(err)
			}
		}
		shown, err := Shown(data)
		if err != nil || strings.Contains(string(shown), dir) || !strings.Contains(string(shown), "sorry.html") {
			t.Errorf("it is shown as %s, %v", shown, err)
		}
	}
}

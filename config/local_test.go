package config

import (
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
		data, err := PackLocal(s)
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
	for _, d := range Differences(parseTest(t, before), parseTest(t, after)) {
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
	if same := Differences(parseTest(t, after), parseTest(t, strings.ReplaceAll(after, ", ", ",  "))); len(same) > 0 {
		t.Errorf("spaces are a difference: %v", same)
	}
}

package fastly

import (
	"maps"
	"slices"
	"strings"
)

// cipherSuites are the suites of a cipher list as OpenSSL has it (its manual page ciphers)
// that are spoken here; those of TLS 1.3 always are. Words select suites by
// what they are made of; ! removes for good, - removes, + moves to the end, which says nothing here:
// the origin chooses. Words and names of what is not spoken select nothing, so the result may be empty.
func cipherSuites(list string) []uint16 {
	chosen, killed := map[uint16]bool{}, map[uint16]bool{}
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		operator := word[0]
		if strings.IndexByte("!-+@", operator) >= 0 {
			word = word[1:]
		}
		for suite, name := range opensslNames {
			switch {
			case !selects(word, name), operator == '+', operator == '@':
			case operator == '!':
				killed[suite] = true
				delete(chosen, suite)
			case operator == '-':
				delete(chosen, suite)
			default:
				chosen[suite] = !killed[suite]
			}
		}
	}
	out := []uint16{}
	for _, suite := range slices.Sorted(maps.Keys(chosen)) {
		if chosen[suite] {
			out = append(out, suite)
		}
	}
	return out
}

// selects says whether a word of a cipher list, or several with + between, selects a suite.
func selects(word, name string) bool {
	for one := range strings.SplitSeq(word, "+") {
		if one != name && !isMadeOf(name, one) {
			return false
		}
	}
	return true
}

// isMadeOf says whether a word of OpenSSL is for a suite. All that are spoken here have ephemeral
// keys on curves, and none of them has another hash than SHA-1 for its MAC.
func isMadeOf(name, word string) bool {
	sha1 := strings.HasSuffix(name, "-SHA")
	switch word {
	case "ALL", "DEFAULT", "HIGH", "kEECDH", "kECDHE", "ECDH", "ECDHE", "EECDH":
		return true
	case "aRSA":
		return strings.Contains(name, "-RSA-")
	case "aECDSA", "ECDSA":
		return strings.Contains(name, "-ECDSA-")
	case "TLSv1.2":
		return !sha1
	case "TLSv1", "TLSv1.0", "SSLv3", "SHA", "SHA1":
		return sha1
	case "AES", "AES128", "AES256", "CHACHA20":
		return strings.Contains(name, word)
	case "AESGCM":
		return strings.Contains(name, "-GCM-")
	}
	return false
}

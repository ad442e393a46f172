package http1

// Name is a field name that the codec knows; all others are NameOther.
type Name uint8

// The names that the codec knows.
const (
	NameOther Name = iota
	NameAccept
	NameAcceptEncoding
	NameAcceptLanguage
	NameAcceptRanges
	NameAge
	NameAllow
	NameAuthorization
	NameCacheControl
	NameCDNLoop
	NameConnection
	NameContentDisposition
	NameContentEncoding
	NameContentLanguage
	NameContentLength
	NameContentRange
	NameContentType
	NameCookie
	NameDate
	NameDNT
	NameETag
	NameExpect
	NameExpires
	NameForwarded
	NameHost
	NameHTTP2Settings
	NameIfMatch
	NameIfModifiedSince
	NameIfNoneMatch
	NameIfRange
	NameIfUnmodifiedSince
	NameKeepAlive
	NameLastModified
	NameLink
	NameLocation
	NameMaxForwards
	NameOrigin
	NamePragma
	NamePriority
	NameProxyAuthenticate
	NameProxyAuthorization
	NameProxyConnection
	NameRange
	NameReferer
	NameRetryAfter
	NameSecFetchDest
	NameSecFetchMode
	NameSecFetchSite
	NameServer
	NameSetCookie
	NameStrictTransportSecurity
	NameTE
	NameTraceparent
	NameTracestate
	NameTrailer
	NameTransferEncoding
	NameUpgrade
	NameUserAgent
	NameVary
	NameVia
	NameWWWAuthenticate
	NameXForwardedFor
	NameXForwardedHost
	NameXForwardedProto
	nameCount // at most 64: Head keeps a bit for each
)

// canonical are the names as net/http has them (textproto.CanonicalMIMEHeaderKey).
var canonical = [nameCount]string{
	"", "Accept", "Accept-Encoding", "Accept-Language", "Accept-Ranges", "Age", "Allow", "Authorization",
	"Cache-Control", "Cdn-Loop", "Connection", "Content-Disposition", "Content-Encoding", "Content-Language",
	"Content-Length", "Content-Range", "Content-Type", "Cookie", "Date", "Dnt", "Etag", "Expect", "Expires",
	"Forwarded", "Host", "Http2-Settings", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range",
	"If-Unmodified-Since", "Keep-Alive", "Last-Modified", "Link", "Location", "Max-Forwards", "Origin", "Pragma",
	"Priority", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Range", "Referer",
	"Retry-After", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Server", "Set-Cookie",
	"Strict-Transport-Security", "Te", "Traceparent", "Tracestate", "Trailer", "Transfer-Encoding", "Upgrade",
	"User-Agent", "Vary", "Via", "Www-Authenticate", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
}

// String is the name as net/http has it, empty for NameOther.
func (n Name) String() string { return canonical[n] }

// nameIndex finds a name by a hash of its length, first and last character,
// folded to lower case. Names with the same hash stand in a chain.
type nameIndex struct {
	first [256]Name
	next  [nameCount]Name
}

var names = newNameIndex()

func newNameIndex() *nameIndex {
	x := new(nameIndex)
	for n := NameOther + 1; n < nameCount; n++ {
		s := canonical[n]
		slot := nameHash(len(s), lower[s[0]], lower[s[len(s)-1]])
		x.next[n], x.first[slot] = x.first[slot], n
	}
	return x
}

func nameHash(length int, first, last byte) uint8 {
	return uint8(length)*29 ^ first*7 ^ last
}

// lookUpName is the known name of a token, whatever its case.
func lookUpName[T ~string | ~[]byte](b T) Name {
	slot := nameHash(len(b), lower[b[0]], lower[b[len(b)-1]])
	for n := names.first[slot]; n != NameOther; n = names.next[n] {
		if s := canonical[n]; string(b) == s || equalFold(b, s) {
			return n
		}
	}
	return NameOther
}

// LookUpName is the known name for a field name in any case.
func LookUpName(name string) Name {
	if name == "" {
		return NameOther
	}
	return lookUpName(name)
}

// equalFold compares tokens without regard to the case of ASCII letters.
func equalFold[T ~string | ~[]byte](b T, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range len(b) {
		if b[i] != s[i] && (lower[b[i]] == 0 || lower[b[i]] != lower[s[i]]) {
			return false
		}
	}
	return true
}

// canonicalize writes a token as net/http has it: capitals at the beginning
// and after every hyphen.
func canonicalize(b []byte) {
	up := true
	for i, c := range b {
		switch {
		case up && 'a' <= c && c <= 'z':
			b[i] = c - 'a' + 'A'
		case !up && 'A' <= c && c <= 'Z':
			b[i] = c - 'A' + 'a'
		}
		up = c == '-'
	}
}

// nameSet is a set of known names.
type nameSet uint64

func setOf(list ...Name) nameSet {
	var s nameSet
	for _, n := range list {
		s |= 1 << n
	}
	return s
}

func (s nameSet) has(n Name) bool { return s>>n&1 != 0 }

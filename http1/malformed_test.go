package http1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// malformed are requests that nobody must see, and what they are answered. HOST
// stands for a good Host field, BODY for a body of which the handler may see the
// beginning.
var malformed = []struct {
	name, text string
	status     int
}{
	// Where a request ends.
	{"length and coding", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding and length", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
	{"differing lengths", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400},
	{"repeated length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400},
	{"length list", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4, 4\r\n\r\nabcd", 400},
	{"length list that differs", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4, 5\r\n\r\nabcd", 400},
	{"plus length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: +4\r\n\r\nabcd", 400},
	{"minus length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: -1\r\n\r\n", 400},
	{"minus nothing", "POST /bad HTTP/1.1\r\nHOSTContent-Length: -0\r\n\r\n", 400},
	{"empty length", "POST /bad HTTP/1.1\r\nHOSTContent-Length:\r\n\r\nabcd", 400},
	{"length overflows 64 bits", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 18446744073709551620\r\n\r\nabcd", 400},
	{"length overflows 63 bits", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 9223372036854775808\r\n\r\nabcd", 400},
	{"very long length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: " + strings.Repeat("1", 400) + "\r\n\r\n", 400},
	{"hexadecimal length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 0x4\r\n\r\nabcd", 400},
	{"spaced length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 1 0\r\n\r\nabcd", 400},
	{"length with leading zero", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 04\r\n\r\nabcd", 400},
	{"length with underscore", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 1_0\r\n\r\nabcd", 400},
	{"fractional length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4.0\r\n\r\nabcd", 400},
	{"quoted length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: \"4\"\r\n\r\nabcd", 400},
	{"length of a GET twice", "GET /bad HTTP/1.1\r\nHOSTContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
	{"chunked twice", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding twice", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two codings", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
	{"gzip and chunked", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
	{"chunked and gzip", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
	{"gzip alone", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400},
	{"identity", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: identity\r\n\r\n", 400},
	{"identity and chunked", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n", 400},
	{"xchunked", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a parameter", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", 400},
	{"quoted chunked", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a vertical tab", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a tab inside", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunk\ted\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a comma", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400},
	{"comma and chunked", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400},
	{"empty coding", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
	{"coding with a byte beyond ASCII", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\xff\r\n\r\n0\r\n\r\n", 400},
	{"chunked in HTTP/1.0", "POST /bad HTTP/1.0\r\nHOSTTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"TRACE with a body", "TRACE /bad HTTP/1.1\r\nHOSTContent-Length: 1\r\n\r\nx", 400},

	// Chunks.
	{"chunk size 0x", "BODY0x5\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size plus", "BODY+5\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size minus", "BODY-5\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size after a space", "BODY 5\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size before a space", "BODY5 \r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size before a tab", "BODY5\t\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size underscore", "BODY0_5\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size overflows", "BODY10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size overflows 63 bits", "BODYffffffffffffffff\r\nhello\r\n0\r\n\r\n", 400},
	{"empty chunk size", "BODY\r\nhello\r\n0\r\n\r\n", 400},
	{"chunk size with many zeros", "BODY00000000000000005\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with a space", "BODY5; a\r\nhello\r\n0\r\n\r\n", 400},
	{"extension without a name", "BODY5;\r\nhello\r\n0\r\n\r\n", 400},
	{"extension without a value", "BODY5;a=\r\nhello\r\n0\r\n\r\n", 400},
	{"quoted extension", "BODY5;a=\"b\"\r\nhello\r\n0\r\n\r\n", 400},
	{"long extension", "BODY5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with NUL", "BODY5;a=\x00\r\nhello\r\n0\r\n\r\n", 400},
	{"bare line feed behind the size", "BODY5\nhello\r\n0\r\n\r\n", 400},
	{"bare carriage return behind the size", "BODY5\rhello\r\n0\r\n\r\n", 400},
	{"line feed in an extension", "BODY5;a\nhello\r\n0\r\n\r\n", 400},
	{"no line break behind data", "BODY5\r\nhello0\r\n\r\n", 400},
	{"bare line feed behind data", "BODY5\r\nhello\n0\r\n\r\n", 400},
	{"two bytes too many", "BODY5\r\nhelloXX0\r\n\r\n", 400},
	{"bare line feed at the end", "BODY5\r\nhello\r\n0\n\n", 400},
	{"bare line feed behind trailers", "BODY0\r\nA: b\n\r\n", 400},
	{"trailer with a space before the colon", "BODY0\r\nA : b\r\n\r\n", 400},
	{"folded trailer", "BODY0\r\nA: b\r\n c\r\n\r\n", 400},
	{"trailer Content-Length", "BODY0\r\nContent-Length: 5\r\n\r\n", 400},
	{"trailer Transfer-Encoding", "BODY0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
	{"trailer Host", "BODY0\r\nHost: y\r\n\r\n", 400},
	{"announced trailer Content-Length", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n", 400},

	// Lines and names.
	{"bare line feed behind the request line", "GET /bad HTTP/1.1\nHOST\r\n", 400},
	{"bare line feed behind a field", "GET /bad HTTP/1.1\r\nHOSTA: b\n\r\n", 400},
	{"bare line feed at the end of the head", "GET /bad HTTP/1.1\r\nHOST\n", 400},
	{"bare carriage return in the request line", "GET /bad\r HTTP/1.1\r\nHOST\r\n", 400},
	{"bare carriage return in a value", "GET /bad HTTP/1.1\r\nHOSTA: b\rc\r\n\r\n", 400},
	{"bare carriage return behind a value", "GET /bad HTTP/1.1\r\nHOSTA: b\r\r\n\r\n", 400},
	{"folded field", "GET /bad HTTP/1.1\r\nHOSTA: b\r\n c\r\n\r\n", 400},
	{"folded field with a tab", "GET /bad HTTP/1.1\r\nHOSTA: b\r\n\tc\r\n\r\n", 400},
	{"folded first field", "GET /bad HTTP/1.1\r\n A: b\r\nHOST\r\n", 400},
	{"space before the colon", "GET /bad HTTP/1.1\r\nHOSTA : b\r\n\r\n", 400},
	{"space before the colon of a length", "POST /bad HTTP/1.1\r\nHOSTContent-Length : 4\r\n\r\nabcd", 400},
	{"tab before the colon of a coding", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
	{"no colon", "GET /bad HTTP/1.1\r\nHOSTnonsense\r\n\r\n", 400},
	{"empty name", "GET /bad HTTP/1.1\r\nHOST: b\r\n\r\n", 400},
	{"space in a name", "GET /bad HTTP/1.1\r\nHOSTA b: c\r\n\r\n", 400},
	{"NUL in a name", "GET /bad HTTP/1.1\r\nHOSTA\x00b: c\r\n\r\n", 400},
	{"parenthesis in a name", "GET /bad HTTP/1.1\r\nHOSTA(b): c\r\n\r\n", 400},
	{"byte beyond ASCII in a name", "GET /bad HTTP/1.1\r\nHOSTA\xe9: c\r\n\r\n", 400},
	{"NUL in a value", "GET /bad HTTP/1.1\r\nHOSTA: b\x00c\r\n\r\n", 400},
	{"escape in a value", "GET /bad HTTP/1.1\r\nHOSTA: \x1b[1m\r\n\r\n", 400},
	{"delete in a value", "GET /bad HTTP/1.1\r\nHOSTA: \x7f\r\n\r\n", 400},
	{"vertical tab in a value", "GET /bad HTTP/1.1\r\nHOSTA: b\vc\r\n\r\n", 400},

	// Request lines.
	{"empty method", " /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"method with a colon", "GE:T /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"method with NUL", "GE\x00T /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"method beyond ASCII", "G\xc9T /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"method in braces", "{GET} /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"overlong method", strings.Repeat("M", 129) + " /bad HTTP/1.1\r\nHOST\r\n", 501},
	{"two spaces before the target", "GET  /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"two spaces behind the target", "GET /bad  HTTP/1.1\r\nHOST\r\n", 400},
	{"tab before the target", "GET\t/bad HTTP/1.1\r\nHOST\r\n", 400},
	{"space in the target", "GET /bad /worse HTTP/1.1\r\nHOST\r\n", 400},
	{"space behind the version", "GET /bad HTTP/1.1 \r\nHOST\r\n", 400},
	{"target beyond ASCII", "GET /b\xc3\xa4d HTTP/1.1\r\nHOST\r\n", 400},
	{"target with NUL", "GET /b\x00d HTTP/1.1\r\nHOST\r\n", 400},
	{"target with delete", "GET /b\x7fd HTTP/1.1\r\nHOST\r\n", 400},
	{"fragment", "GET /bad#x HTTP/1.1\r\nHOST\r\n", 400},
	{"half an escape", "GET /bad%2 HTTP/1.1\r\nHOST\r\n", 400},
	{"no escape", "GET /bad%zz HTTP/1.1\r\nHOST\r\n", 400},
	{"relative target", "GET bad HTTP/1.1\r\nHOST\r\n", 400},
	{"authority as target", "GET x:80 HTTP/1.1\r\nHOST\r\n", 400},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHOST\r\n", 400},
	{"asterisk and more", "OPTIONS *x HTTP/1.1\r\nHOST\r\n", 400},
	{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 501},
	{"HTTP/0.9", "GET /bad\r\n", 400},
	{"HTTP/0.9 with a space", "GET /bad \r\n", 400},
	{"version HTTP/1.2", "GET /bad HTTP/1.2\r\nHOST\r\n", 505},
	{"version HTTP/2.0", "GET /bad HTTP/2.0\r\nHOST\r\n", 505},
	{"preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"version HTTP/0.9", "GET /bad HTTP/0.9\r\nHOST\r\n", 505},
	{"version HTTP/1.10", "GET /bad HTTP/1.10\r\nHOST\r\n", 400},
	{"version HTTP/01.1", "GET /bad HTTP/01.1\r\nHOST\r\n", 400},
	{"version HTTP/1", "GET /bad HTTP/1\r\nHOST\r\n", 400},
	{"version http/1.1", "GET /bad http/1.1\r\nHOST\r\n", 400},
	{"version HTTP/1,1", "GET /bad HTTP/1,1\r\nHOST\r\n", 400},
	{"version HTTP/+1.1", "GET /bad HTTP/+1.1\r\nHOST\r\n", 400},
	{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
	{"two empty lines", "\r\n\r\nGET /bad HTTP/1.1\r\nHOST\r\n", 400},
	{"empty line of a line feed", "\nGET /bad HTTP/1.1\r\nHOST\r\n", 400},

	// Hosts.
	{"no Host", "GET /bad HTTP/1.1\r\n\r\n", 400},
	{"two Hosts", "GET /bad HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
	{"Host twice", "GET /bad HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
	{"two Hosts in HTTP/1.0", "GET /bad HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400},
	{"empty Host", "GET /bad HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"Host with a user", "GET /bad HTTP/1.1\r\nHost: u@x\r\n\r\n", 400},
	{"Host with a comma", "GET /bad HTTP/1.1\r\nHost: x,y\r\n\r\n", 400},
	{"Host with a space", "GET /bad HTTP/1.1\r\nHost: x y\r\n\r\n", 400},
	{"Host with a slash", "GET /bad HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
	{"Host with an escape", "GET /bad HTTP/1.1\r\nHost: x%2ey\r\n\r\n", 400},
	{"Host beyond ASCII", "GET /bad HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", 400},
	{"Host with an empty label", "GET /bad HTTP/1.1\r\nHost: x..y\r\n\r\n", 400},
	{"Host with an empty port", "GET /bad HTTP/1.1\r\nHost: x:\r\n\r\n", 400},
	{"Host with a word as port", "GET /bad HTTP/1.1\r\nHost: x:http\r\n\r\n", 400},
	{"Host with port 0", "GET /bad HTTP/1.1\r\nHost: x:0\r\n\r\n", 400},
	{"Host with port 65536", "GET /bad HTTP/1.1\r\nHost: x:65536\r\n\r\n", 400},
	{"Host with two ports", "GET /bad HTTP/1.1\r\nHost: x:80:80\r\n\r\n", 400},
	{"Host is a port", "GET /bad HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
	{"Host with half a bracket", "GET /bad HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
	{"Host with the other half", "GET /bad HTTP/1.1\r\nHost: ::1]\r\n\r\n", 400},
	{"Host with text behind the bracket", "GET /bad HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400},
	{"Host with a name in brackets", "GET /bad HTTP/1.1\r\nHost: [x]\r\n\r\n", 400},
	{"Host with a zone", "GET /bad HTTP/1.1\r\nHost: [fe80::1%eth0]\r\n\r\n", 400},
	{"Host without brackets", "GET /bad HTTP/1.1\r\nHost: ::1\r\n\r\n", 400},
	{"absolute form that disagrees", "GET http://y/bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form with another port", "GET http://x:8080/bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form without Host", "GET http://x/bad HTTP/1.1\r\n\r\n", 400},
	{"absolute form with a user", "GET http://u@x/bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form without authority", "GET http:///bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form of ftp", "GET ftp://x/bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form of file", "GET file:///bad HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"absolute form of javascript", "GET javascript:alert(1) HTTP/1.1\r\nHost: x\r\n\r\n", 400},

	// The connection.
	{"Connection names the length", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4\r\nConnection: Content-Length\r\n\r\nabcd", 400},
	{"Connection names the coding", "POST /bad HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\nConnection: close, transfer-encoding\r\n\r\n0\r\n\r\n", 400},
	{"Connection names Host", "GET /bad HTTP/1.1\r\nHOSTConnection: host\r\n\r\n", 400},
	{"Connection names Authorization", "GET /bad HTTP/1.1\r\nHOSTConnection: keep-alive, authorization\r\n\r\n", 400},
	{"Connection names X-Forwarded-For", "GET /bad HTTP/1.1\r\nHOSTConnection: X-Forwarded-For\r\n\r\n", 400},
	{"malformed Connection", "GET /bad HTTP/1.1\r\nHOSTConnection: cl@se\r\n\r\n", 400},
	{"unknown expectation", "POST /bad HTTP/1.1\r\nHOSTExpect: 200-ok\r\nContent-Length: 4\r\n\r\nabcd", 417},
	{"two expectations", "POST /bad HTTP/1.1\r\nHOSTExpect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nabcd", 417},

	// Limits.
	{"large head", "GET /bad HTTP/1.1\r\nHOSTA: " + strings.Repeat("a", 33<<10) + "\r\n\r\n", 431},
	{"many fields", "GET /bad HTTP/1.1\r\nHOST" + strings.Repeat("A: b\r\n", 128) + "\r\n", 431},
	{"long target", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHOST\r\n", 414},
	{"endless target", "GET /" + strings.Repeat("a", 40<<10), 414},
	{"large body", "POST /bad HTTP/1.1\r\nHOSTContent-Length: 4294967297\r\n\r\n", 413},
	{"large trailers", "BODY0\r\nA: " + strings.Repeat("a", 33<<10) + "\r\n\r\n", 431},
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// before are the requests in front of a malformed one.
var before = []struct{ name, text string }{
	{"first", ""},
	{"after GET", "GET /good HTTP/1.1\r\nHost: x\r\n\r\n"},
	{"after POST", "POST /good HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"},
	{"after chunks", "POST /good HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	for _, d := range serverDrivers {
		for _, b := range before {
			t.Run(d.name+"/"+b.name, func(t *testing.T) {
				t.Parallel()
				for _, m := range malformed {
					refusedOnce(t, d, b.text, m.name, m.text, m.status)
				}
			})
		}
	}
}

func refusedOnce(t *testing.T, d serverDriver, first, name, text string, status int) {
	t.Helper()
	var good, bodies, smuggledIn atomic.Int32
	var recs records
	isBody := strings.HasPrefix(text, "BODY")
	s := &Server{Done: recs.done, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		switch {
		case r.RequestURI == "/good":
			good.Add(1)
		case r.RequestURI == "/body" && err != nil:
			bodies.Add(1)
		default:
			smuggledIn.Add(1)
		}
		fmt.Fprint(w, "seen")
	})}
	text = strings.Replace(text, "BODY", "POST /body HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\n\r\n", 1)
	text = strings.Replace(text, "HOST", "Host: x\r\n", 1)
	answer := talk(t, d, s, first+text+smuggled)
	wantGood := int32(strings.Count(first, "/good"))
	answers := strings.Split(answer, "HTTP/1.1 ")[1:]
	if smuggledIn.Load() != 0 || good.Load() != wantGood || isBody && bodies.Load() != 1 || len(answers) != int(wantGood)+1 {
		t.Errorf("%s: handler saw %d good, %d broken bodies, %d it must not see; answer %q",
			name, good.Load(), bodies.Load(), smuggledIn.Load(), answer)
		return
	}
	last := answers[len(answers)-1]
	if !strings.HasPrefix(last, fmt.Sprint(status)) || !strings.Contains(last, "\r\nConnection: close\r\n") {
		t.Errorf("%s: answered %q, want %d and a closed connection", name, last, status)
	}
	all := recs.all()
	if n := len(all); n != len(answers) || all[n-1].Answer.Status != status || all[n-1].Detail == "" || all[n-1].Start.IsZero() {
		t.Errorf("%s: records are %+v", name, all)
	}
}

package http1

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"
)

// hello answers with what it was asked.
func hello(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s%s %s", r.Method, r.Host, r.RequestURI, body)
}

var dateLine = regexp.MustCompile(`Date: [^\r]*\r\n`)

func withoutDate(answer string) string { return dateLine.ReplaceAllString(answer, "") }

func TestRequestsOfOneConnectionAreAnsweredInOrder(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
	want := head + "Content-Length: 8\r\n\r\nGET x/a " +
		head + "Content-Length: 16\r\n\r\nPOST x/b?q hello" +
		head + "Content-Length: 12\r\n\r\nPOST x/c abc" +
		head + "Content-Length: 9\r\n\r\n" +
		head + "Content-Length: 8\r\nConnection: close\r\n\r\nGET x/e "
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			var recs records
			s := &Server{Handler: http.HandlerFunc(hello), Done: recs.done}
			got := talk(t, d, s, "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"+
				"POST /b?q HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\r\n"+
				"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+
				"HEAD /d HTTP/1.1\r\nHost: x\r\n\r\n"+
				"GET /e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if got = withoutDate(got); got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			all := recs.all()
			if len(all) != 5 {
				t.Fatalf("%d records, want 5", len(all))
			}
			for i, r := range all {
				if r.Answer.Status != 200 || r.Client.Reused != (i > 0) || r.Start.IsZero() || r.Timing.End <= 0 ||
					r.WhyBad != "" || r.Client.Protocol != "HTTP/1.1" {
					t.Errorf("record %d is %+v", i, r)
				}
			}
			if r := all[1]; r.Request.Path != "/b" || r.Request.BodyBytes != 5 || r.Answer.BodyBytes != 16 || r.Request.Method != "POST" {
				t.Errorf("record 1 is %+v", r)
			}
		})
	}
}

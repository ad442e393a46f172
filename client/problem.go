package client

import (
	"encoding/json"
	"mime"
	"net/http"
	"strings"
)

// Problem is an error of the API (RFC 9457).
type Problem struct {
	Type   string          `json:"type"`
	Title  string          `json:"title"`
	Status int             `json:"status"`
	Detail string          `json:"detail"`
	Errors []ProblemDetail `json:"errors,omitempty"`
}

// ProblemDetail is one of several things that are wrong with what was sent.
type ProblemDetail struct {
	Message  string `json:"message"`
	Location string `json:"location,omitempty" doc:"body.name"`
}

func (p *Problem) Error() string {
	words := p.Detail
	if words == "" {
		words = p.Title
	}
	for _, e := range p.Errors {
		words += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
	}
	return words
}

// Kind says what can be done about it: invalid, not-found, conflict,
// unavailable, denied, internal; empty if the answer did not say.
func (p *Problem) Kind() string {
	return p.Type[strings.LastIndexByte(p.Type, '/')+1:]
}

func problemOf(resp *http.Response, body []byte) error {
	p := &Problem{Title: resp.Status, Status: resp.StatusCode}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "application/problem+json" {
		_ = json.Unmarshal(body, p) // what cannot be read leaves the status
	}
	return p
}

package http1

import (
	"fmt"
	"net/http"
)

// Refusal says why a message was refused. As an error of a request body it
// says that what followed the head was no body.
type Refusal struct {
	Status int    // what a client is answered
	Limit  string // the name of the limit that was hit, as in the configuration; empty if none was
	Why    string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (%d %s)", r.Why, r.Status, http.StatusText(r.Status))
}

// refuse is the refusal of a malformed message.
func refuse(why string) *Refusal { return &Refusal{Status: http.StatusBadRequest, Why: why} }

func tooLarge(status int, limit, why string) *Refusal {
	return &Refusal{Status: status, Limit: limit, Why: why}
}

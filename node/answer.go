package node

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"strconv"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// refuse answers by ourselves, in plain words, and notes why.
func refuse(w http.ResponseWriter, rec *record.Record, status int, words string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	body := words + "\n"
	if status >= 500 {
		body += "trace " + hex.EncodeToString(rec.Trace.TraceID[:]) + "\n"
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if rec.Detail == "" {
		rec.Detail = words
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the server sees that the client is gone
}

// originFailed answers for an origin that gave no answer, with the reason in
// Proxy-Status (RFC 9209).
func originFailed(w http.ResponseWriter, r *http.Request, rec *record.Record, err error) {
	cause := context.Cause(r.Context())
	if errors.Is(cause, errUndone) {
		rec.WhyBad, rec.Detail = record.OwnError, errUndone.Error()
		refuse(w, rec, http.StatusServiceUnavailable, "the request was cut off by a change: send it again")
		return
	}
	if cause != nil && errors.Is(err, context.Canceled) {
		rec.WhyBad, rec.Detail = record.ClientGone, "client left before the origin answered"
		panic(http.ErrAbortHandler)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		rec.LimitHit = "body"
		refuse(w, rec, http.StatusRequestEntityTooLarge,
			"request body is larger than "+selvage.ByteSize(tooLarge.Limit).String())
		return
	}
	kind, words := selvage.ProxyInternalError, "the edge met a defect of its own"
	if _, ok := errors.AsType[*functionError](err); ok {
		rec.Origin.Type, rec.WhyBad = kind, record.OwnError
		w.Header().Set("Proxy-Status", Pseudonym+"; error="+string(kind))
		refuse(w, rec, kind.Status(), "the function that answers here failed")
		return
	}
	if pe, ok := errors.AsType[*selvage.ProxyError](err); ok {
		kind, words = pe.Type, sayFailed[pe.Type]
	}
	if kind == selvage.RequestError {
		requestFailed(w, rec, err)
		return
	}
	rec.Origin.Type, rec.Detail = kind, err.Error()
	rec.WhyBad = record.OriginFailed
	if kind == selvage.ProxyInternalError {
		rec.WhyBad = record.OwnError
	}
	if words == "" {
		words = "the origin gave no answer"
	}
	w.Header().Set("Proxy-Status", Pseudonym+"; error="+string(kind))
	refuse(w, rec, kind.Status(), words)
}

// requestFailed answers for a client whose request could not be sent whole. That
// is nobody else's failure. The server knows better what was wrong with the body, and
// says it instead where it can.
func requestFailed(w http.ResponseWriter, rec *record.Record, err error) {
	rec.Detail = err.Error()
	w.Header().Set("Proxy-Status", Pseudonym+"; error="+string(selvage.RequestError))
	switch {
	case errors.Is(err, errTotal):
		rec.WhyBad, rec.LimitHit = record.DeadlineTotal, "deadline_total"
		refuse(w, rec, http.StatusGatewayTimeout, "the request took too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, rec, http.StatusRequestTimeout, "the request body did not come in time")
	default:
		refuse(w, rec, http.StatusBadRequest, "the request is malformed, incomplete, or more than the origin takes")
	}
}

// sayFailed is for the person in front of the browser, who can do nothing
// about endpoints and addresses: those are in the record.
var sayFailed = map[selvage.ProxyErrorType]string{
	selvage.DNSError:              "the origin's name is not known",
	selvage.DNSTimeout:            "the origin's name was not found in time",
	selvage.DestinationDown:       "the origin is down",
	selvage.ConnectionRefused:     "the origin refuses connections",
	selvage.ConnectionTerminated:  "the origin closed the connection before it answered",
	selvage.ConnectionTimeout:     "the origin did not accept a connection in time",
	selvage.ConnectionLimit:       "the origin has no connection left for this request",
	selvage.TLSProtocolError:      "the origin does not speak TLS with us",
	selvage.TLSCertificateError:   "the origin's certificate is not valid",
	selvage.ResponseProtocolError: "the origin's answer is malformed",
	selvage.ResponseIncomplete:    "the origin's answer ended too early",
	selvage.ResponseHeadTooLarge:  "the head of the origin's answer is too large",
	selvage.ResponseTimeout:       "the origin did not answer in time",
	selvage.UpgradeFailed:         "the origin did not change the protocol",
}

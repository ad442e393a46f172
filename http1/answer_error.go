package http1

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/selvage-edge/selvage"
)

// ErrRequestBody is in the chain of an [AnswerError] that is not the origin's
// doing: the request's body could not be read to its end.
var ErrRequestBody = errors.New("read the request body")

// AnswerError says why there is no answer, or why its body broke off.
//
// A request may be sent again, whatever its method, if Sent is false. If Reused
// is true and Type is [selvage.ConnectionTerminated], a kept connection was
// closed before a byte of an answer came: most likely the origin had given it
// up before it saw the request, and one that is idempotent may be sent again
// at once (RFC 9112, section 9.3.1). A body's errors always have Sent.
type AnswerError struct {
	Type   selvage.ProxyErrorType
	Sent   bool // the origin may have seen some of the request
	Reused bool // the connection had carried a request before
	Err    error
}

func (e *AnswerError) Error() string { return fmt.Sprintf("%s: %v", e.Type, e.Err) }

func (e *AnswerError) Unwrap() error { return e.Err }

func answerError(t selvage.ProxyErrorType, err error) *AnswerError {
	return &AnswerError{Type: t, Err: err}
}

var (
	errAnswerClosed = errors.New("the answer was closed")
	errStale        = errors.New("the connection was closed or had unread bytes before the request")
	errUnsolicited  = refuse("bytes before the request")
)

// fail says what an error of the connection means for the request.
func (a *answer) fail(err error) *AnswerError {
	if cause := a.sendCause(); cause != nil {
		err = cause
	}
	e, ok := errors.AsType[*AnswerError](err)
	if !ok {
		e = &AnswerError{a.errorType(err), false, false, err}
	}
	ctx := a.req.Context()
	switch {
	case e.Type == selvage.ResponseProtocolError || e.Type == selvage.ResponseHeadTooLarge || errors.Is(err, ErrRequestBody):
	case ctx.Err() != nil:
		e.Type, e.Err = selvage.ConnectionTerminated, context.Cause(ctx)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			e.Type = selvage.ResponseTimeout
		}
	}
	if e.Type == selvage.ResponseIncomplete && !errors.Is(e.Err, io.ErrUnexpectedEOF) {
		e.Err = fmt.Errorf("%w: %w", io.ErrUnexpectedEOF, e.Err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.conn; c != nil {
		e.Sent, e.Reused = c.wrote > 0, c.reused
	}
	return e
}

func (a *answer) errorType(err error) selvage.ProxyErrorType {
	refusal, ok := errors.AsType[*Refusal](err)
	switch {
	case ok && refusal.Limit != "":
		a.t.limitHit("origin_head")
		return selvage.ResponseHeadTooLarge
	case ok:
		return selvage.ResponseProtocolError
	case isTimeout(err) || errors.Is(err, os.ErrDeadlineExceeded):
		return selvage.ResponseTimeout
	case a.began:
		return selvage.ResponseIncomplete
	}
	return selvage.ConnectionTerminated
}

// dialErrorType says why there is no connection. A Dial that knows better
// returns a *selvage.ProxyError or an *AnswerError.
func dialErrorType(err error) selvage.ProxyErrorType {
	if e, ok := errors.AsType[*selvage.ProxyError](err); ok {
		return e.Type
	}
	if e, ok := errors.AsType[*AnswerError](err); ok {
		return e.Type
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsTimeout {
			return selvage.DNSTimeout
		}
		return selvage.DNSError
	}
	switch {
	case isCertificateError(err):
		return selvage.TLSCertificateError
	case isTLSError(err):
		return selvage.TLSProtocolError
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT):
		return selvage.ConnectionTimeout
	case errors.Is(err, context.Canceled):
		return selvage.ConnectionTerminated
	case errors.Is(err, syscall.ECONNREFUSED):
		return selvage.ConnectionRefused
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return selvage.DestinationUnroutable
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return selvage.ConnectionTerminated
	}
	return selvage.DestinationDown
}

func isCertificateError(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok
}

func isTLSError(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok
}

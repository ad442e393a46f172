package selvage

import (
	"errors"
	"fmt"
	"net/http"
)

// Kind says what a caller can do about an error. Across the control API it is
// the last path segment of the RFC 9457 problem type.
type Kind string

// The kinds.
const (
	Invalid     Kind = "invalid"     // change what you sent
	NotFound    Kind = "not-found"   // name something that exists
	Conflict    Kind = "conflict"    // read again, then try again
	Unavailable Kind = "unavailable" // try again later
	Denied      Kind = "denied"      // ask for the role, or use another token
	Internal    Kind = "internal"    // a defect of ours
)

// Error is an error with its kind.
type Error struct {
	Kind Kind
	Err  error
}

// Errorf makes an error of a kind.
func Errorf(kind Kind, format string, args ...any) error {
	return &Error{kind, fmt.Errorf(format, args...)}
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// KindOf is the kind of the outermost [Error] in err's chain, [Internal] if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// ProxyErrorType is a proxy error type of RFC 9209, section 2.3: it says why
// the origin gave no answer that can be sent on.
type ProxyErrorType string

// The types that the edge reports, each with the status that RFC 9209 recommends for it.
const (
	DNSError              ProxyErrorType = "dns_error"                         // 502
	DNSTimeout            ProxyErrorType = "dns_timeout"                       // 504
	DestinationNotFound   ProxyErrorType = "destination_not_found"             // 500
	DestinationDown       ProxyErrorType = "destination_unavailable"           // 503
	DestinationUnroutable ProxyErrorType = "destination_ip_unroutable"         // 502
	ConnectionRefused     ProxyErrorType = "connection_refused"                // 502
	ConnectionTerminated  ProxyErrorType = "connection_terminated"             // 502
	ConnectionTimeout     ProxyErrorType = "connection_timeout"                // 504
	ConnectionLimit       ProxyErrorType = "connection_limit_reached"          // 503
	TLSProtocolError      ProxyErrorType = "tls_protocol_error"                // 502
	TLSCertificateError   ProxyErrorType = "tls_certificate_error"             // 502
	ResponseProtocolError ProxyErrorType = "http_protocol_error"               // 502
	ResponseIncomplete    ProxyErrorType = "http_response_incomplete"          // 502
	ResponseHeadTooLarge  ProxyErrorType = "http_response_header_section_size" // 502
	ResponseTimeout       ProxyErrorType = "http_response_timeout"             // 504
	UpgradeFailed         ProxyErrorType = "http_upgrade_failed"               // 502
	LoopDetected          ProxyErrorType = "proxy_loop_detected"               // 502
	ProxyInternalError    ProxyErrorType = "proxy_internal_error"              // 500

	// RequestError is the client's doing: its request's body could not be read
	// to its end, or its head is more than the origin says that it takes. No
	// origin failed, and nothing stands in for an answer.
	RequestError ProxyErrorType = "http_request_error" // 400
)

// Status is the status that RFC 9209 recommends for the type.
func (t ProxyErrorType) Status() int {
	switch t {
	case DNSTimeout, ConnectionTimeout, ResponseTimeout:
		return http.StatusGatewayTimeout
	case DestinationDown, ConnectionLimit:
		return http.StatusServiceUnavailable
	case DestinationNotFound, ProxyInternalError:
		return http.StatusInternalServerError
	case RequestError:
		return http.StatusBadRequest
	default:
		return http.StatusBadGateway
	}
}

// ProxyError says that an origin gave no answer that can be sent on. The
// stages above the origin decide by it: the cache may serve a stale answer,
// the fallback a default one, and the client sees its type in Proxy-Status.
type ProxyError struct {
	Type     ProxyErrorType
	Origin   OriginName
	Endpoint string // host:port, empty where none was chosen
	Err      error
}

func (e *ProxyError) Error() string {
	switch {
	case e.Origin == "": // it is the edge's own, or a function's
		return fmt.Sprintf("%s: %v", e.Type, e.Err)
	case e.Endpoint == "":
		return fmt.Sprintf("origin %q: %s: %v", e.Origin, e.Type, e.Err)
	}
	return fmt.Sprintf("origin %q at %s: %s: %v", e.Origin, e.Endpoint, e.Type, e.Err)
}

func (e *ProxyError) Unwrap() error { return e.Err }

// Trap is an error of a revision's own code: it failed by itself, whatever it was asked.
type Trap interface {
	error
	Fingerprint() string // the same for the same fault
}

// OwnFault says whether an error is the revision's own doing, and another
// revision may do better with the same request: its code trapped, the edge met a
// defect, or what it was told to answer with is not there.
func OwnFault(err error) bool {
	if _, ok := errors.AsType[Trap](err); ok {
		return true
	}
	pe, ok := errors.AsType[*ProxyError](err)
	return ok && (pe.Type == ProxyInternalError || pe.Type == DestinationNotFound)
}

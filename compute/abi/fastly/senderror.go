package fastly

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/selvage-edge/selvage/compute"
)

// ErrNoBackend is what Fetch answers for an origin that there is not.
var ErrNoBackend = errors.New("there is no such origin")

var errURI = errors.New("a URI to send to has a scheme and a host")

// The tags of an error's detail.
const (
	detailOK                 = 1
	detailDNSTimeout         = 2
	detailDNSError           = 3
	detailNotFound           = 4
	detailUnavailable        = 5
	detailUnroutable         = 6
	detailRefused            = 7
	detailTerminated         = 8
	detailConnectTimeout     = 9
	detailConnectionLimit    = 10
	detailCertificate        = 11
	detailIncompleteResponse = 13
	detailResponseTimeout    = 16
	detailURIInvalid         = 21
	detailInternal           = 22
	detailTLSAlert           = 23
	detailTLSProtocol        = 24
)

// The bits of an error's detail that say what else is known.
const (
	knownRCode = 1 << 1
	knownAlert = 1 << 3
)

// errorStatus is what a guest is told of a request that failed.
func errorStatus(err error) Status {
	var limit *compute.LimitError
	switch {
	case errors.Is(err, ErrNoBackend):
		return Invalid
	case errors.As(err, &limit):
		return LimitExceeded
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return HTTPIncomplete
	}
	return Failed
}

// detailOf is what is known of an error: its tag, which details follow, the DNS
// response code and the number of the TLS alert.
func detailOf(status Status, err error) (tag, mask uint32, rcode uint16, alert uint8) {
	if status == OK && err == nil {
		return detailOK, 0, 0, 0
	}
	if d, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case d.IsTimeout:
			return detailDNSTimeout, 0, 0, 0
		case d.IsNotFound:
			return detailDNSError, knownRCode, 3, 0 // NXDOMAIN (RFC 1035, section 4.1.1)
		}
		return detailDNSError, 0, 0, 0
	}
	if a, ok := errors.AsType[tls.AlertError](err); ok {
		return detailTLSAlert, knownAlert, 0, uint8(a)
	}
	return tagOf(err), 0, 0, 0
}

// tagOf is the tag of an error that has no details.
func tagOf(err error) uint32 {
	_, isLimit := errors.AsType[*compute.LimitError](err)
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	_, expired := errors.AsType[x509.CertificateInvalidError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	timeout, isTimeout := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, ErrNoBackend):
		return detailNotFound
	case errors.Is(err, errURI):
		return detailURIInvalid
	case isLimit:
		return detailConnectionLimit
	case verification, authority, name, expired:
		return detailCertificate
	case record:
		return detailTLSProtocol
	case errors.Is(err, syscall.ECONNREFUSED):
		return detailRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return detailUnroutable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return detailTerminated
	case isOp && op.Op == "dial" && op.Timeout():
		return detailConnectTimeout
	case errors.Is(err, context.DeadlineExceeded), isTimeout && timeout.Timeout():
		return detailResponseTimeout
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return detailIncompleteResponse
	case err != nil:
		return detailUnavailable
	}
	return detailInternal
}

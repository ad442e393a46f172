package http1

import "context"

// Handshake is what a listener kept of how a connection's TLS began, beside its state.
type Handshake struct {
	// Hello is the ClientHello as it came: the message with its type and length,
	// without the headers of records. nil: it was too long to be kept.
	Hello []byte
	// Distrust says why the client's certificate is not believed, where a listener
	// asks for one and serves without. nil: it is believed, or there is none.
	Distrust error
}

type handshakeKey struct{}

// HandshakeKey is the context key of a request's handshake, for a context type that answers it itself.
var HandshakeKey any = handshakeKey{}

// HandshakeOf is the handshake of the connection that a request came on. Without
// TLS it is empty, so that callers need not ask.
func HandshakeOf(ctx context.Context) *Handshake {
	if h, ok := ctx.Value(handshakeKey{}).(*Handshake); ok && h != nil {
		return h
	}
	return new(Handshake)
}

package listen

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
)

// viaProxy asks as a load balancer does that sends a PROXY header.
func viaProxy(t *testing.T, a *ca, addr, scheme string, h2c bool) string {
	t.Helper()
	var p http.Protocols
	p.SetHTTP1(!h2c)
	p.SetHTTP2(!h2c)
	p.SetUnencryptedHTTP2(h2c)
	tr := &http.Transport{
		Protocols:       &p,
		TLSClientConfig: &tls.Config{RootCAs: a.pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				_, err = io.WriteString(c, v2(0x21, 0x11, addrs4))
			}
			return c, err
		},
	}
	defer tr.CloseIdleConnections()
	return get(t, &http.Client{Transport: tr}, scheme+"://shop.example/")
}

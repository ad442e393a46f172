// Package client is the Go client of a node's control API, and the shapes that
// cross it.
//
// Look at [Client] first; [Find] makes one for the node on this machine.
//
// It promises to need nothing but the standard library, and that every error
// of the API is a [*Problem] (RFC 9457). It refuses to keep state: every call
// asks the node.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// SocketName is the unix socket in a node's data folder.
const SocketName = "control.sock"

// maxAnswer bounds what is read of one answer, in bytes.
const maxAnswer = 16 << 20

// Client speaks to one node. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
}

// Options says where a node is. One of Socket and Address is set.
type Options struct {
	Socket  string // path of a unix socket
	Address string // http://host:port or https://host:port
	Token   string // for Address
}

// New makes a client. It does not connect yet.
func New(o Options) (*Client, error) {
	if o.Socket != "" {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", o.Socket)
		}
		return &Client{
			base: &url.URL{Scheme: "http", Host: "localhost"},
			http: &http.Client{Transport: &http.Transport{DialContext: dial}},
		}, nil
	}
	u, err := url.Parse(o.Address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("admin address %q: write http://host:port or https://host:port", o.Address)
	}
	return &Client{base: u, token: o.Token, http: &http.Client{}}, nil
}

// Find makes a client for the node that has one of the data folders: the first
// whose socket is answered.
func Find(folders ...string) (*Client, error) {
	for _, f := range folders {
		path := filepath.Join(f, SocketName)
		c, err := new(net.Dialer).DialContext(context.Background(), "unix", path)
		switch {
		case err == nil:
			c.Close()
			return New(Options{Socket: path})
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
			// No node, or one that was killed: it is not here.
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("control socket %s: %w: it lets in the user that runs the node, and root", path, fs.ErrPermission)
		default:
			return nil, fmt.Errorf("control socket %s: %w", path, err)
		}
	}
	return nil, fmt.Errorf("no node runs here: nobody answers at %s in %s: start one with selvage run, or name one with --data or --address",
		SocketName, strings.Join(folders, " or "))
}

// Status asks how the node is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	return s, c.get(ctx, "/v1/status", s)
}

// answerTimeout is how long the node may take for an answer, beside what it was asked to wait for.
const answerTimeout = 10 * time.Second

func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.send(ctx, http.MethodGet, path, nil, into)
}

// send sends a value as JSON, nil for none, and reads the answer's.
func (c *Client) send(ctx context.Context, method, path string, value, into any) error {
	wait := answerTimeout
	if p, ok := value.(PurgeRequest); ok {
		wait += time.Duration(p.WaitMS) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var sent io.Reader
	if value != nil {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	resp, err := c.do(ctx, method, path, nil, sent)
	if err != nil {
		return err
	}
	return done(resp, into)
}

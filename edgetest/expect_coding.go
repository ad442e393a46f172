package edgetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing/synctest"

	"github.com/selvage-edge/selvage/transform"
)

// expectDecoded compares the body with its coding taken away. The coding is
// part of the expectation.
func (x *exchange) expectDecoded(coding, want string) error {
	if err := x.awaitEnd(); err != nil {
		return err
	}
	if x.endErr != nil {
		return fmt.Errorf("got a body that broke after %d bytes: %w", len(x.body), x.endErr)
	}
	if err := same(x.header.Get("Content-Encoding"), coding); err != nil {
		return err
	}
	body, err := decode(x.header, x.body)
	if err != nil {
		return err
	}
	if countless(body) == want {
		return nil
	}
	return same(string(body), want)
}

// expectBegun compares what can be decoded of a body that has not come whole, now.
func (p *player) expectBegun(x *exchange, coding, want string) error {
	x.release()
	synctest.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := same(x.header.Get("Content-Encoding"), coding); err != nil {
		return err
	}
	got, err := decode(x.header, x.body)
	if err == nil {
		return fmt.Errorf("got a whole body %.100q\n\twant only its beginning", got)
	}
	return same(string(got), want)
}

// decode takes the coding that the header names from a whole body.
func decode(h http.Header, coded []byte) ([]byte, error) {
	res := &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Encoding": h["Content-Encoding"]},
		ContentLength: int64(len(coded)), Body: io.NopCloser(bytes.NewReader(coded)),
	}
	if why := transform.NewDecompress(nil, transform.DecompressOptions{}).Apply("", res); why != "" {
		return nil, fmt.Errorf("decode a body of %d bytes in %q: %s", len(coded), h["Content-Encoding"], why)
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

package main

import (
	"errors"
	"testing"
)

func TestAnAnswerCountsWhenItIsWhole(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nServer: x\r\n\r\n"
	for text, want := range map[string]struct {
		whole bool
		err   error
	}{
		"":                           {},
		head[:20]:                    {},
		head:                         {},
		head + "hell":                {},
		head + "hello\n":             {whole: true},
		head + "hello\nHTTP/1.1 200": {err: errAnswer},
		"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n": {whole: true},
		"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n":    {err: errAnswer},
		"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n":            {err: errAnswer},
	} {
		if whole, err := isWhole([]byte(text)); whole != want.whole || !errors.Is(err, want.err) {
			t.Errorf("%q: got %v, %v, want %v, %v", text, whole, err, want.whole, want.err)
		}
	}
}

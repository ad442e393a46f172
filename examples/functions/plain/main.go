// Command plain is a function as any language can have it: a program that reads
// its environment and its standard input and writes an answer, as a script of CGI
// does (RFC 3875). It knows nothing of the edge, and runs in a shell too.
package main

import (
	"fmt"
	"io"
	"os"
)

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Print("Status: 400\nContent-Type: text/plain\n\nthe body broke off\n")
		return
	}
	fmt.Print("Content-Type: text/plain\nCache-Control: max-age=60\n\n")
	fmt.Printf("%s %s with %d bytes from %s\n", os.Getenv("REQUEST_METHOD"), os.Getenv("PATH_INFO"), len(body), os.Getenv("REMOTE_ADDR"))
}

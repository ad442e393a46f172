// The program answers as CGI has it: a plain program, which knows nothing of where it runs.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

var started = time.Now()

func main() {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Println("Status: 400")
	}
	fmt.Print("Content-Type: text/plain\r\nX-Path: " + os.Getenv("PATH_INFO") + "\r\n")
	switch os.Getenv("PATH_INFO") {
	case "/env":
		env := os.Environ()
		slices.Sort(env)
		fmt.Print("\n", strings.Join(env, "\n"))
	case "/status":
		fmt.Print("Status: 418 I am\n\nteapot")
	case "/files":
		_, open := os.Open("/etc/passwd")
		_, create := os.Create("x")
		_, list := os.ReadDir(".")
		_, dial := net.Dial("tcp", "127.0.0.1:80")
		fmt.Print("\n", open != nil, create != nil, list != nil, dial != nil)
	case "/random":
		var b [16]byte
		rand.Read(b[:])
		fmt.Printf("\n%x", b)
	case "/sleep":
		before := time.Now()
		time.Sleep(20 * time.Millisecond)
		fmt.Print("\n", time.Since(before) >= 20*time.Millisecond, time.Now().Year() > 2020)
	case "/log":
		fmt.Fprintln(os.Stderr, "a line for the log")
		fmt.Print("\nlogged")
	case "/exit":
		os.Exit(3)
	case "/panic":
		var m map[string]int
		m["a"] = 1
	case "/long":
		fmt.Print("\n")
		for range 100 {
			fmt.Print(strings.Repeat("0123456789", 1000))
		}
	default:
		fmt.Printf("\n%s %d %s", os.Getenv("REQUEST_METHOD"), len(body), body[:min(len(body), 10)])
	}
}

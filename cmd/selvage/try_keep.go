package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
)

// The edge of a try is a process of its own, because a change may kill it. This one
// has its sockets, so that clients wait instead of being refused, and starts it again.
const (
	tryLived  = 2 * time.Second // one that dies sooner was never well
	tryStarts = 10              // and no more
)

// keepTry runs the edge until it ends by itself or because it was asked to.
func keepTry(ctx context.Context, w io.Writer, f tryFlags) (err error) {
	asked := make(chan os.Signal, 4)
	// A closed terminal, too, must leave nothing behind.
	signal.Notify(asked, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(asked)
	node := config.DefaultNode()
	node.Listen, node.Admin.Address = []selvage.Listener{{Address: f.listen}}, f.admin
	if err := checkFlags(&node, true, true); err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", tryPrefix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	files, err := openTry(ctx, f)
	defer func() {
		for _, s := range files {
			s.Close()
		}
	}()
	if err != nil {
		return err
	}
	for start := 1; ; start++ {
		began := time.Now()
		state, err := tryProcess(ctx, f.child(folder, start), files, asked)
		switch {
		case err != nil:
			return err
		case state.Success():
			return nil
		case ctx.Err() != nil, start == tryStarts, time.Since(began) < tryLived, !crashed(state):
			return &saidError{exitFailed} // it has said why
		}
		fmt.Fprintf(w, "\n  The edge has died (%s). It is started again.\n", state)
	}
}

// crashed says that nobody wanted this end: a signal, or the runtime's own.
func crashed(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() || status.ExitStatus() == 2)
}

// child are the arguments of the edge.
func (f tryFlags) child(folder string, start int) []string {
	return []string{
		"try", "--folder", folder, "--start", strconv.Itoa(start), "--listen", f.listen, "--admin", f.admin, "--origin", f.origin,
		"--quiet=" + strconv.FormatBool(f.quiet),
	}
}

// tryProcess runs the edge to its end. What we are asked we pass on: it is in a
// group of its own, so that a terminal does not ask it twice.
func tryProcess(ctx context.Context, args []string, files []*os.File, asked <-chan os.Signal) (*os.ProcessState, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, args...) // it is asked to end, and drains
	cmd.Args[0] = os.Args[0]
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := cmd.StdinPipe() // it ends when this process does, however that ends
	if err != nil {
		return nil, err
	}
	defer alive.Close()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // waited for below
	if ctx.Err() != nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	for {
		select {
		case s := <-asked:
			_ = cmd.Process.Signal(s) // it may be gone
		case err := <-ended:
			if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
				return nil, err
			}
			return cmd.ProcessState, nil
		}
	}
}

// openTry opens the nodes' sockets, the shop's and that for operators, in this
// order. The shop goes to a free port where another program has its own.
func openTry(ctx context.Context, f tryFlags) (files []*os.File, err error) {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return nil, err
	}
	addresses := []string{f.listen}
	for range tryPlaces[1:] {
		addresses = append(addresses, net.JoinHostPort(host, "0"))
	}
	addresses = append(addresses, f.origin)
	if f.admin != "off" {
		addresses = append(addresses, f.admin)
	}
	for i, address := range addresses {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		shop := i == len(tryPlaces)
		if shop && errors.Is(err, syscall.EADDRINUSE) {
			l, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		}
		switch {
		case err == nil:
		case shop:
			return files, fmt.Errorf("the shop's own address: %w: name another with --origin", err)
		case i > len(tryPlaces):
			return files, advise(err, "--admin, or switch it off with --admin off")
		default:
			return files, advise(err, "--listen")
		}
		file, err := l.(*net.TCPListener).File() // it is one: "tcp" was asked for
		l.Close()
		if err != nil {
			return files, err
		}
		files = append(files, file)
	}
	return files, nil
}

// trySockets are those that the process was started with.
func trySockets(n int) ([]net.Listener, error) {
	list := make([]net.Listener, n)
	for i := range list {
		file := os.NewFile(uintptr(3+i), "socket")
		l, err := net.FileListener(file)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("take over a socket: %w", err)
		}
		list[i] = l
	}
	return list, nil
}

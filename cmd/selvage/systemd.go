package main

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/selvage-edge/selvage"
)

// systemdSockets are the listeners that systemd opened for us, none where it
// did not.
func systemdSockets() (sockets, error) {
	list, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	return newSockets(list), nil
}

// sockets are listeners that systemd opened for us, by all the ways in which
// the configuration may write their addresses.
type sockets map[string]net.Listener

func newSockets(list []net.Listener) sockets {
	s := sockets{}
	for _, l := range list {
		if l == nil {
			continue // not a socket that we could listen on
		}
		s[l.Addr().String()] = l
		tcp, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		port := fmt.Sprint(tcp.Port)
		switch {
		case tcp.IP.IsUnspecified():
			s[":"+port], s["0.0.0.0:"+port], s["[::]:"+port] = l, l, l
		case tcp.IP.IsLoopback():
			s["localhost:"+port] = l
		}
	}
	return s
}

// warnUnused tells of sockets that no configured address names: whoever
// connects to one would wait for ever.
func (s sockets) warnUnused(log *slog.Logger, conf *selvage.Node) {
	used := map[net.Listener]bool{s[conf.Admin.Address]: true}
	for _, l := range conf.Listen {
		used[s[l.Address]] = true
	}
	said := map[string]bool{}
	for _, l := range s {
		if addr := l.Addr().String(); !used[l] && !said[addr] {
			said[addr] = true
			log.Warn("no listener of the node file has the address of this socket of systemd", "address", addr)
		}
	}
}

// The notices to systemd do nothing where it did not start us; nobody can do
// anything about one that is lost.

func notifyReady()    { _, _ = daemon.SdNotify(false, daemon.SdNotifyReady) }
func notifyStopping() { _, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) }

func notifyReloading() {
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) != nil {
		return
	}
	usec := time.Duration(now.Nano()).Microseconds()
	_, _ = daemon.SdNotify(false, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, usec))
}

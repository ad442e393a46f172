package main

import (
	"fmt"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// systemdListeners are the sockets that systemd opened for us, by address.
func systemdListeners() (map[string]net.Listener, error) {
	list, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	opened := make(map[string]net.Listener, len(list))
	for _, l := range list {
		if l != nil {
			opened[l.Addr().String()] = l
		}
	}
	return opened, nil
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

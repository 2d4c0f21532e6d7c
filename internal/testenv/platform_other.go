//go:build !linux

package testenv

import (
	"net"
	"syscall"
)

// childAttr starts a child in a process group of its own. Without Linux nothing kills it when the
// test process is killed; the next run removes what is left.
func childAttr(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: as}
}

// claimPort has no abstract sockets here; the probe of the port alone must do.
func claimPort(int) (net.Listener, error) { return nil, nil } //nolint:nilnil // no claim is a valid claim

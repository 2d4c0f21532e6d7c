package testenv

import (
	"fmt"
	"net"
	"syscall"
)

// childAttr starts a child in a process group of its own, so that Ctrl-C reaches only the tests,
// and has the kernel kill it when the thread that started it ends.
func childAttr(as *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: as}
}

// claimPort marks a port as taken for other test processes. An abstract socket needs no file, ends
// with the process, and is known exactly where the port is: within one network namespace.
func claimPort(number int) (net.Listener, error) {
	return net.Listen("unix", fmt.Sprintf("@warren-testenv-port-%d", number)) //nolint:noctx // does not wait
}

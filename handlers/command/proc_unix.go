//go:build unix

package command

import (
	"errors"
	"os"
	"syscall"
)

// terminateGroup asks the program and all that it started to end. os.ErrProcessDone means that
// it has ended already.
func terminateGroup(p *os.Process) error {
	err := syscall.Kill(-p.Pid, syscall.SIGTERM)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// killGroup ends what is left of the group of a program that has ended. A group keeps its number
// for as long as it has a member; that it was empty, and is taken by a stranger already, takes
// all other process numbers of the system to be used up in between.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

//go:build !unix

package command

import (
	"os"
	"syscall"
)

// attributes has nothing to ask for: there are no process groups.
func attributes() *syscall.SysProcAttr { return nil }

// terminateGroup kills the program: there is no gentler way that all programs understand.
func terminateGroup(p *os.Process) error { return p.Kill() }

// killGroup has nothing to kill.
func killGroup(int) {}

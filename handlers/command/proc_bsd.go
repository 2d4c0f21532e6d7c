//go:build unix && !linux

package command

import "syscall"

// attributes makes the program the leader of a process group.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

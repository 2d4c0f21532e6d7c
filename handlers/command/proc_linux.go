package command

import "syscall"

// attributes makes the program the leader of a process group, and ends it when the consumer dies
// by SIGKILL: the job will run elsewhere as soon as the consumer's lease has expired.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

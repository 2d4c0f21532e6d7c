package testenv

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// releaseSharedMemory frees the System V segment that a killed PostgreSQL leaves behind: its id is
// in the lock file. The next start in the same data directory would free it, but this directory
// gets none, and the kernel keeps at most 4096 segments. Nothing is done while it is attached.
func releaseSharedMemory(data string) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return // it stopped in order and cleaned up itself
	}
	const segmentLine = 6 // "key id"
	lines := strings.Split(string(text), "\n")
	if len(lines) <= segmentLine {
		return
	}
	fields := strings.Fields(lines[segmentLine])
	if len(fields) != 2 {
		return
	}
	id, err := strconv.Atoi(fields[1])
	if err != nil || id < 0 {
		return
	}
	const ipcRemove = 0 // IPC_RMID: the segment goes when the last process detaches
	_, _, _ = syscall.Syscall(syscall.SYS_SHMCTL, uintptr(id), ipcRemove, 0)
}

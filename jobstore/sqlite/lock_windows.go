package sqlite

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockedAt is a byte far behind the text: what is locked cannot be read by others here.
const lockedAt = 1 << 30

// tryLock locks a file until it is closed or the process ends; errLocked when another has it.
func tryLock(file *os.File) error {
	err := windows.LockFileEx(windows.Handle(file.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, &windows.Overlapped{Offset: lockedAt})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}

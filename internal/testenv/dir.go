package testenv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// workRoot holds every directory of this package. It is not the test's own temporary directory,
// because the postgres user must be able to walk down to its data.
const (
	workRoot  = "/tmp"
	dirPrefix = "warren-testenv-"
)

// dir is a server's directory. It is locked while its process lives.
type dir struct {
	path string
	lock *os.File
}

// reapOnce has one test process look for left-overs once.
var reapOnce sync.Once //nolint:gochecknoglobals // a process looks once, whoever makes the first directory

// newDir makes a locked directory, after removing those of processes that died.
func newDir(kind string) (*dir, error) {
	reapOnce.Do(func() { reap(workRoot) })
	// It gets its name only when it is locked, else another process might take it for left over.
	name := kind + "-" + strings.ToLower(rand.Text()[:10])
	hidden := filepath.Join(workRoot, "."+dirPrefix+name)
	if err := os.Mkdir(hidden, 0o711); err != nil { //nolint:gosec // postgres must walk through it
		return nil, fmt.Errorf("make a directory for %s: %w", kind, err)
	}
	lock, err := lockDir(hidden)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the directory of %s: %w", kind, err), os.Remove(hidden))
	}
	d := &dir{path: filepath.Join(workRoot, dirPrefix+name), lock: lock}
	// The mode again, because the umask may have taken the right to walk through.
	err = errors.Join(os.Chmod(hidden, 0o711), os.Rename(hidden, d.path)) //nolint:gosec // as above
	if err != nil {
		return nil, errors.Join(fmt.Errorf("name the directory of %s: %w", kind, err), lock.Close(), os.RemoveAll(hidden))
	}
	return d, nil
}

// join is a path below the directory.
func (d *dir) join(elements ...string) string {
	return filepath.Join(append([]string{d.path}, elements...)...)
}

// write makes a file below the directory.
func (d *dir) write(name, text string, mode os.FileMode) error {
	if err := os.WriteFile(d.join(name), []byte(text), mode); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// processList names the processes that were started for a directory: "pid start-time name" lines.
const processList = "processes"

// remember notes a process, so that a later run can end it if this one could not.
func (d *dir) remember(pid int, name string) error {
	s, err := readStatus(pid)
	if err != nil {
		return nil //nolint:nilerr // it has ended already, or this system has no /proc
	}
	f, err := os.OpenFile(d.join(processList), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("note process %d of %s: %w", pid, name, err)
	}
	_, err = fmt.Fprintf(f, "%d %s %s\n", pid, s.started, name)
	return errors.Join(err, f.Close())
}

// remove deletes the directory and frees the lock.
func (d *dir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// lockDir takes the directory's lock without waiting.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reap removes the directories whose owners are dead, and ends what still runs for them. What
// cannot be removed (another user's, say) stays; that is not this run's failure.
func reap(root string) {
	paths, err := filepath.Glob(filepath.Join(root, dirPrefix+"*"))
	if err != nil {
		return
	}
	for _, path := range paths {
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			continue
		}
		lock, err := lockDir(path)
		if err != nil {
			continue // its owner lives, or it is not ours to read
		}
		killRemembered(filepath.Join(path, processList))
		releaseSharedMemory(filepath.Join(path, "data"))
		_ = os.RemoveAll(path)
		_ = lock.Close()
	}
}

// killRemembered ends the processes of a process list that still are the ones it names.
func killRemembered(list string) {
	text, err := os.ReadFile(list)
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil || pid <= 1 {
			continue
		}
		if (status{pid: pid, started: fields[1]}).running() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

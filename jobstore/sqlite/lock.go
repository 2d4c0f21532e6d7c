package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// consumerLock is held by the one store that may register consumers. The operating system gives it
// up when the process ends, however that happens.
type consumerLock struct {
	mu   sync.Mutex
	file *os.File
}

// errLocked is what tryLock returns for a file that another has locked.
var errLocked = errors.New("locked")

// expireAllSQL is for whoever has just got the lock: every registration is of a process that is dead.
const expireAllSQL = `-- warren: expire all consumers
UPDATE warren_consumers SET expires_at = '` + never + `' WHERE expires_at <> '` + never + `'`

// consume takes the lock of consumers, unless this store has it already.
func (s *Store) consume(ctx context.Context) error {
	if s.path == Memory {
		return nil
	}
	s.lock.mu.Lock()
	defer s.lock.mu.Unlock()
	if s.lock.file != nil {
		return nil
	}
	file, err := s.takeLock()
	if err != nil {
		return err
	}
	n, err := s.exec(ctx, expireAllSQL)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if n > 0 {
		s.log.Info("registrations of earlier consumers were ended", zap.Int64("consumers", n))
	}
	s.lock.file = file
	return nil
}

// takeLock returns the locked file, which says whose it is to those who come too late.
func (s *Store) takeLock() (*os.File, error) {
	path := s.path + "-consumer"
	// Others only have to read it.
	file, err := os.OpenFile(filepath.Clean(path), os.O_RDWR|os.O_CREATE, 0o644) //nolint:gosec // it holds a process number
	if err != nil {
		return nil, fmt.Errorf("lock of consumers: %w", err)
	}
	err = tryLock(file)
	switch {
	case errors.Is(err, errLocked):
		err = fmt.Errorf("%w: another consumer works on %s%s: only one may; stop it first, or use PostgreSQL", jobstore.ErrRefused, s.path, owner(path))
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	default:
		err = errors.Join(file.Truncate(0), writeAt(file, strconv.Itoa(os.Getpid())+"\n"))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// owner is " (process 1234)", or nothing while the lock's holder has not written that yet.
func owner(path string) string {
	text, err := os.ReadFile(filepath.Clean(path))
	pid, bad := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || bad != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

// release gives the lock up. The file stays: to remove it would take it from under somebody who
// has just opened it.
func (l *consumerLock) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close() // which unlocks it
		l.file = nil
	}
}

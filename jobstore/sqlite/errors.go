package sqlite

import (
	"errors"
	"fmt"
	"strings"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/warrenq/warren/jobstore"
)

// class says what an error means for the caller's next step.
type class int

const (
	other    class = iota
	locked         // somebody else has been writing for too long
	data           // the data cannot be stored, ever
	refused        // a trigger of the schema says no
	missing        // the schema is not there, or is another one
	full           // there is no room
	readonly       // the file may not be written
	foreign        // the file is no database
	broken         // the file is damaged, or the disk fails
)

func classify(err error) class {
	if errors.Is(err, errOccupied) {
		return locked
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return other
	}
	if e.Code() == lib.SQLITE_CONSTRAINT_TRIGGER {
		return refused
	}
	switch e.Code() & 0xff {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED:
		return locked
	case lib.SQLITE_CONSTRAINT, lib.SQLITE_TOOBIG, lib.SQLITE_MISMATCH:
		return data
	case lib.SQLITE_FULL:
		return full
	case lib.SQLITE_READONLY, lib.SQLITE_PERM, lib.SQLITE_CANTOPEN:
		return readonly
	case lib.SQLITE_NOTADB:
		return foreign
	case lib.SQLITE_CORRUPT, lib.SQLITE_IOERR:
		return broken
	case lib.SQLITE_ERROR:
		if strings.Contains(e.Error(), "no such table") || strings.Contains(e.Error(), "no such column") || strings.Contains(e.Error(), "has no column") {
			return missing
		}
	}
	return other
}

// wrap adds what was being done, and the sentinel that the caller may look for. It is the only
// place that turns a database error into one of package jobstore.
func (s *Store) wrap(doing string, err error) error {
	switch classify(err) {
	case data:
		return fmt.Errorf("%s: %w: %w", doing, jobstore.ErrInvalid, err)
	case refused:
		return fmt.Errorf("%s: %w: %w", doing, jobstore.ErrRefused, err)
	case missing:
		return fmt.Errorf("%s: %w; run 'warren migrate up': %w", doing, jobstore.ErrSchema, err)
	case locked:
		return fmt.Errorf("%s: %s is locked: a transaction of another program has been writing to it for %s; end that one, and try again: %w", doing, s.path, busyTimeout, err)
	case full:
		return fmt.Errorf("%s: there is no room left for %s: nothing of this was stored; make room, and try again: %w", doing, s.path, err)
	case readonly:
		return fmt.Errorf("%s: %s cannot be written to; the file and its directory must be writable for this user: %w", doing, s.path, err)
	case foreign:
		return fmt.Errorf("%s: %s is no SQLite database; DATABASE_URL must name another file: %w", doing, s.path, err)
	case broken:
		return fmt.Errorf("%s: %s is damaged or its disk fails; stop every program, copy the file, see 'sqlite3 %s \"PRAGMA integrity_check\"': %w", doing, s.path, s.path, err)
	case other:
	}
	return fmt.Errorf("%s: %w", doing, err)
}

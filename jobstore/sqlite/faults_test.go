package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// wantError wants words in an error.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %v, want one that says %q", err, w)
		}
	}
}

// What is wrong with a path is said when it is opened.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string][]string{
		"":                                 {"path is empty", "DATABASE_URL must name a file"},
		dir:                                {"open " + dir + ": is a directory; DATABASE_URL must name a file, such as sqlite:/var/lib/warren/warren.db"},
		filepath.Join(dir, "no/warren.db"): {"the directory " + dir + "/no does not exist"},
		text:                               {"open " + text, "is no SQLite database"},
		filepath.Join(text, "warren.db"):   {"open " + text},
		filepath.Join(dir, "a", "..", "/"): {"is a directory"},
	} {
		s, err := sqlite.Open(t.Context(), path, sqlite.Config{})
		if err == nil {
			s.Close()
		}
		wantError(t, err, words...)
	}
	odd := filepath.Join(dir, "what?&a=1 #%20.db")
	migrate(t, open(t, odd))
	if _, err := os.Stat(odd); err != nil {
		t.Errorf("a file with an odd name: %v", err)
	}
}

// A file that may not be written to is refused with its name, and not by a claim later on.
func TestReadOnlyFile(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	db := connect(t, path)
	run(t, db, "PRAGMA query_only = ON")
	db.SetMaxOpenConns(1)
	_, err := db.ExecContext(t.Context(), "INSERT INTO jobs (kind) VALUES ('k')")
	wantError(t, sqlite.Wrap(path, err), path+" cannot be written to", "must be writable")
}

// An application may keep tables in the same file, but not one named jobs.
func TestForeignTables(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("sqlite", path) // not with DSN: the application made its file in its own way
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	run(t, db, "CREATE TABLE settings (x)")
	run(t, db, "CREATE TABLE schema_migrations (version)")
	s := open(t, path)
	migrate(t, s)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Error(err)
	}
	if done, err := s.Compact(t.Context()); done || err != nil {
		t.Errorf("a file that was made without auto_vacuum was compacted: %t, %v", done, err)
	}
	other := filepath.Join(t.TempDir(), "other.db")
	run(t, connect(t, other), "CREATE TABLE jobs (name)")
	s = open(t, other)
	for _, err := range []error{s.Check(t.Context()), s.Migrate(t.Context())} {
		if !errors.Is(err, jobstore.ErrSchema) {
			t.Errorf("the error is %v, want ErrSchema", err)
		}
		wantError(t, err, other+" has a table jobs that Warren did not make")
	}
}

// What does not fit is refused as a whole, and everything goes on when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Fatal(err)
	}
	s.Limit(t, 60)
	big := job()
	big.Args = []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	_, err := s.Insert(t.Context(), []jobstore.NewJob{job(), big})
	wantError(t, err, "no room left for "+path, "nothing of this was stored")
	// Beside others, only the one that does not fit fails.
	var wg sync.WaitGroup
	failed := make([]error, 8)
	for i := range failed {
		wg.Go(func() {
			j := job()
			if i == 3 {
				j = big
			}
			_, failed[i] = s.Insert(t.Context(), []jobstore.NewJob{j})
		})
	}
	wg.Wait()
	for i, err := range failed {
		if (err != nil) != (i == 3) {
			t.Errorf("insert %d: %v", i, err)
		}
	}
	s.Limit(t, 1<<20)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{big}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := number(t, connect(t, path), "SELECT count(*) FROM jobs"); n != 9 {
		t.Errorf("there are %d jobs, want 9", n)
	}
	if ok := number(t, connect(t, path), "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check = 'ok'"); ok != 1 {
		t.Error("the file is damaged")
	}
}

// A transaction of this process holds writers up, and they say so when they give up.
func TestOccupied(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	err := s.InTx(t.Context(), func(ctx context.Context, tx jobstore.Tx) error {
		if _, err := s.InsertTx(ctx, tx, []jobstore.NewJob{job()}); err != nil {
			return err
		}
		if _, err := s.Get(ctx, 1); !errors.Is(err, jobstore.ErrNotFound) { // readers see the last commit
			t.Errorf("a reader sees %v", err)
		}
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := s.Insert(short, []jobstore.NewJob{job()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an insert that was not waited for: %v", err)
		}
		_, err := s.Insert(ctx, []jobstore.NewJob{job()})
		wantError(t, err, path+" is locked", "10s")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// A transaction of another program is waited for, and named at last.
func TestLockedFile(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	tx, err := connect(t, path).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := s.Insert(t.Context(), []jobstore.NewJob{job()})
		waiting <- err
	}()
	if _, err := s.Look(t.Context()); err != nil {
		t.Errorf("a reader beside a writer: %v", err)
	}
	err = <-waiting
	wantError(t, err, path+" is locked", "another program", "10s")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// Who comes after Close is told so.
func TestClosed(t *testing.T) {
	t.Parallel()
	for _, path := range []string{sqlite.Memory, filepath.Join(t.TempDir(), "w.db")} {
		s := open(t, path)
		migrate(t, s)
		s.Close()
		s.Close()
		_, err := s.Insert(t.Context(), []jobstore.NewJob{job()})
		wantError(t, err, "closed")
		if _, err := s.Get(t.Context(), 1); err == nil || errors.Is(err, jobstore.ErrNotFound) {
			t.Errorf("get from a closed store: %v", err)
		}
	}
}

// Two databases in memory have nothing in common.
func TestMemoryIsPrivate(t *testing.T) {
	t.Parallel()
	a, b := open(t, sqlite.Memory), open(t, sqlite.Memory)
	migrate(t, a)
	if err := b.Check(t.Context()); !errors.Is(err, jobstore.ErrSchema) {
		t.Errorf("the second has tables: %v", err)
	}
	if _, err := sqlite.DSN(sqlite.Memory); err == nil {
		t.Error("there is an address of a database in memory")
	}
}

// Tests move the clock of a store.
func TestClock(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 678912345, time.FixedZone("east", 3600))
	s, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	migrate(t, s)
	later := job()
	later.Delay = time.Hour
	got, err := s.Insert(t.Context(), []jobstore.NewJob{later})
	if err != nil {
		t.Fatal(err)
	}
	if j := get(t, s, got[0].ID); fmt.Sprint(j.CreatedAt) != "2030-01-02 02:04:05.678 +0000 UTC" || fmt.Sprint(j.AvailableAt) != "2030-01-02 03:04:05.679 +0000 UTC" {
		t.Errorf("the job is %+v", j)
	}
	at = at.Add(time.Hour - time.Microsecond)
	if refs, err := s.Due(t.Context(), 10); err != nil || len(refs) != 0 {
		t.Errorf("too early: %v, %v", refs, err)
	}
	at = at.Add(time.Millisecond)
	if refs, err := s.Due(t.Context(), 10); err != nil || len(refs) != 1 {
		t.Errorf("an hour later: %v, %v", refs, err)
	}
	odd := job()
	odd.AvailableAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{odd}); !errors.Is(err, jobstore.ErrInvalid) {
		t.Errorf("a job for the year 10000: %v", err)
	}
}

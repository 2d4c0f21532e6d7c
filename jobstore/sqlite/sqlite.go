package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// Memory is the path of a database that is in memory, alive until Close.
const Memory = ":memory:"

// busyTimeout is how long a transaction waits for another one to end.
const busyTimeout = 10 * time.Second

// readers are how many connections read at once.
const readers = 4

// Config is how a Store is opened. The zero value works.
type Config struct {
	// Log receives what is worth knowing and no error; nil = nothing is logged.
	Log *zap.Logger
	// Now is the only clock of the store; default time.Now. It is for tests that move time.
	Now func() time.Time
}

// Store keeps jobs in a SQLite database. Its methods may be called by many goroutines at once.
type Store struct {
	path  string // as messages name it
	log   *zap.Logger
	now   func() time.Time
	write *writer
	close []func() error

	readDB *sql.DB // nil in memory: there is one connection, which reads too
	reads  *prepared

	wakes waking
	lock  consumerLock
	once  sync.Once
}

var _ jobstore.Store = (*Store)(nil)

// Open opens or makes the database at path, a file or Memory. It does not need the schema to be
// there; see Check and Migrate. The caller ends with Close. Open switches the file to WAL, in
// which others read while one writes.
func Open(ctx context.Context, path string, c Config) (*Store, error) {
	s := &Store{path: path, log: c.Log, now: c.Now}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if path != Memory {
		if err := usable(path); err != nil {
			return nil, err
		}
	}
	if err := s.connect(ctx); err != nil {
		s.closeAll()
		return nil, s.wrap("open "+path, err)
	}
	return s, nil
}

// usable says what is wrong with a path in better words than SQLite's "unable to open database file".
func usable(path string) error {
	const example = "; DATABASE_URL must name a file, such as sqlite:/var/lib/warren/warren.db"
	if path == "" {
		return errors.New("open: the path is empty" + example)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("open %s: is a directory%s", path, example)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("open %s: is no regular file%s", path, example)
	case err == nil, !errors.Is(err, fs.ErrNotExist):
		return nil // whatever it is, SQLite will say
	}
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("open %s: the directory %s does not exist; make it, or name another file in DATABASE_URL", path, filepath.Dir(path))
	}
	return nil
}

// connect opens the writer first: it makes the file, and the readers need it.
func (s *Store) connect(ctx context.Context) error {
	address, err := dsn(s.path)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", address)
	if err != nil {
		return err
	}
	s.close = append(s.close, db.Close)
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	s.close = append(s.close, conn.Close)
	// The first statement that reads the file finds out what it is.
	if _, err := conn.ExecContext(ctx, "SELECT count(*) FROM sqlite_schema"); err != nil {
		return err
	}
	s.write = newWriter(conn)
	if err := forgetStatistics(ctx, direct{conn}); err != nil {
		return err
	}
	if s.path == Memory {
		return nil
	}
	s.readDB, err = sql.Open("sqlite", address+"&_pragma=query_only(1)")
	if err != nil {
		return err
	}
	s.close = append(s.close, s.readDB.Close)
	s.readDB.SetMaxOpenConns(readers)
	s.readDB.SetMaxIdleConns(readers)
	s.reads = newPrepared(s.readDB)
	return nil
}

const statisticsSQL = `-- warren: statistics
SELECT count(*) FROM sqlite_schema WHERE name IN ('sqlite_stat1', 'warren_migrations')`

const forgetStatisticsSQL = `-- warren: forget statistics
DELETE FROM sqlite_stat1 WHERE tbl = 'jobs' OR tbl LIKE 'job\_%' ESCAPE '\' OR tbl LIKE 'warren\_%' ESCAPE '\'`

// forgetStatistics removes what ANALYZE has noted about our tables. Without it SQLite plans every
// statement as it should be; with what was true of a small table, it reads the whole of a large one.
func forgetStatistics(ctx context.Context, q session) error {
	found, err := gather(ctx, q, statisticsSQL, scanInt)
	if err != nil || found[0] < 2 {
		return err
	}
	n, err := q.exec(ctx, forgetStatisticsSQL)
	if err == nil && n > 0 {
		_, err = q.exec(ctx, "ANALYZE sqlite_schema") // which reads the rest again, and analyzes nothing
	}
	return err
}

// DSN returns the address of the file at path for sql.Open("sqlite", …), with the settings that
// this package uses itself: WAL, every commit on disk, 10 s of patience with other writers, and
// transactions that are about to write from their beginning.
func DSN(path string) (string, error) {
	if path == Memory {
		return "", fmt.Errorf("%w: nobody else can open a database in memory; use Store.InTx and From", jobstore.ErrInvalid)
	}
	return dsn(path)
}

func dsn(path string) (string, error) {
	u := url.URL{Scheme: "file", Opaque: Memory}
	if path != Memory {
		abs, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		u = url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}
		if !strings.HasPrefix(u.Path, "/") { // C:/…
			u.Path = "/" + u.Path
		}
	}
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()),
		"auto_vacuum(incremental)", // only a file that has no table yet takes it
		"journal_mode(wal)",
		"synchronous(full)",
		"cache_size(-16000)",
	}}
	return u.String() + "?" + q.Encode(), nil
}

// Close waits for the transaction in flight, writes the WAL into the file as far as others let it,
// and gives up the lock of consumers.
func (s *Store) Close() {
	s.once.Do(func() {
		s.write.close()
		if s.path != Memory {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			// What stays in the WAL is read from there the next time.
			_, _ = s.write.conn.ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		}
		s.closeAll()
		s.lock.release()
	})
}

const closeTimeout = 2 * time.Second

func (s *Store) closeAll() {
	for _, closing := range slices.Backward(s.close) {
		_ = closing() // nothing is lost with a connection: what was reported as done is on disk
	}
}

// Path returns what Open was given.
func (s *Store) Path() string { return s.path }

// reading runs fn on a connection that reads. In memory that is the writer's, between two transactions.
func reading[T any](ctx context.Context, s *Store, fn func(ctx context.Context, q session) (T, error)) (T, error) {
	if s.readDB != nil {
		return fn(ctx, s.reads)
	}
	var none T
	if err := s.write.enter(ctx); err != nil {
		return none, err
	}
	defer s.write.leave()
	return fn(ctx, s.write.on)
}

// snapshot is reading where all statements see the same moment.
func snapshot[T any](ctx context.Context, s *Store, fn func(ctx context.Context, q session) (T, error)) (out T, err error) {
	if s.readDB == nil {
		return reading(ctx, s, fn)
	}
	var none T
	conn, err := s.readDB.Conn(ctx)
	if err != nil {
		return none, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	// Not BeginTx: that would be IMMEDIATE, as the address says, and wait for the writer.
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return none, err
	}
	out, err = fn(ctx, direct{conn})
	if _, end := conn.ExecContext(context.WithoutCancel(ctx), "COMMIT"); err == nil {
		err = end
	}
	return out, err
}

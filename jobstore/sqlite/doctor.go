package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

var _ jobstore.Examiner = (*Store)(nil)

// mostWAL is how large the file of uncheckpointed pages may grow: far beyond what a writer leaves
// by itself, about 4 MB.
const mostWAL = 256 << 20

// Examine implements jobstore.Examiner.
func (s *Store) Examine(ctx context.Context) []jobstore.Finding {
	schema := s.examineSchema(ctx)
	out := []jobstore.Finding{schema}
	checks := []func(context.Context, session) ([]jobstore.Finding, error){s.examineFile}
	if schema.Status == jobstore.StatusOK {
		checks = append(checks, s.examinePlans, s.examineWork)
	}
	for _, check := range checks {
		found, err := reading(ctx, s, check)
		out = append(out, found...)
		if err != nil {
			out = append(out, jobstore.Finding{
				Check: "examination", Status: jobstore.StatusFail, Value: s.wrap("examine "+s.path, err).Error(),
				Remedy: "mend what it says, and run the doctor again",
			})
		}
	}
	return append(out, s.examineWriter(ctx))
}

func (s *Store) examineSchema(ctx context.Context) jobstore.Finding {
	f := jobstore.Finding{Check: "schema", Status: jobstore.StatusOK}
	list, err := s.Migrations(ctx)
	if err == nil {
		err = s.Check(ctx)
	}
	if err != nil {
		f.Status, f.Value, f.Remedy = jobstore.StatusFail, err.Error(), "run 'warren migrate up'"
		return f
	}
	f.Value = fmt.Sprintf("%s, migration %d of %d", s.path, len(list), len(list))
	return f
}

const examineFileSQL = `-- warren: examine file
SELECT sqlite_version(), (SELECT journal_mode FROM pragma_journal_mode), (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size),
       (SELECT freelist_count FROM pragma_freelist_count) * (SELECT page_size FROM pragma_page_size)`

// examineFile looks at the file as such. quick_check reads all of it.
func (s *Store) examineFile(ctx context.Context, q session) ([]jobstore.Finding, error) {
	var version, mode string
	var size, unused int64
	err := q.query(ctx, examineFileSQL, nil, func(r row) error { return r.Scan(&version, &mode, &size, &unused) })
	if err != nil {
		return nil, err
	}
	complaints, err := gather(ctx, q, "PRAGMA quick_check(3)", scanText)
	if err != nil {
		return nil, err
	}
	file := jobstore.Finding{Check: "file", Status: jobstore.StatusOK, Value: fmt.Sprintf("%.1f MB, %.1f MB of them unused", megabytes(size), megabytes(unused))}
	if text := strings.Join(complaints, "; "); text != "ok" {
		file.Status, file.Value = jobstore.StatusFail, text
		file.Remedy = "stop every program and copy the file; 'sqlite3 FILE .recover' saves what can be read"
	}
	out := []jobstore.Finding{{Check: "SQLite", Status: jobstore.StatusOK, Value: version}, file}
	if s.path == Memory {
		return out, nil
	}
	journal := jobstore.Finding{Check: "journal", Status: jobstore.StatusOK, Value: mode}
	info, err := os.Stat(s.path + "-wal")
	switch {
	case mode != "wal":
		journal.Status, journal.Remedy = jobstore.StatusWarn, "readers and the writer hold each other up; is the file on a network disk? Put it on a local one"
	case err == nil && info.Size() > mostWAL:
		journal.Status = jobstore.StatusWarn
		journal.Value = fmt.Sprintf("wal, %.0f MB that wait to be written into the file", megabytes(info.Size()))
		journal.Remedy = "a program holds a reading transaction open; find and end it"
	}
	return append(out, journal), nil
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// examinePlans asks for the plans of hot statements, which read all of jobs only where an index is
// missing, or where ANALYZE has noted what was true of a small table.
func (s *Store) examinePlans(ctx context.Context, q session) ([]jobstore.Finding, error) {
	var slow []string
	for _, hot := range []struct{ name, text string }{
		{"claim", claimSQL}, {"claim next", claimBandSQL}, {"record", endSQL}, {"due", dueSQL}, {"outbox", outboxSQL}, {"heads", headsSQL},
	} {
		plan, err := gather(ctx, q, "EXPLAIN QUERY PLAN "+hot.text, func(r row) (line string, err error) {
			var id, parent, unused int
			err = r.Scan(&id, &parent, &unused, &line)
			return line, err
		}, make([]any, strings.Count(hot.text, "?"))...)
		if err != nil {
			return nil, err
		}
		for _, line := range plan {
			if line == "SCAN jobs" || line == "SCAN j" || line == "SCAN h" {
				slow = append(slow, hot.name)
				break
			}
		}
	}
	f := jobstore.Finding{Check: "plans", Status: jobstore.StatusOK, Value: "no hot statement reads all of jobs"}
	if len(slow) > 0 {
		f.Status, f.Value = jobstore.StatusFail, "these read all of jobs: "+strings.Join(slow, ", ")
		f.Remedy = "restart the consumer, which forgets what ANALYZE has noted; if that does not help, compare '.schema jobs' with 'warren migrate sql'"
	}
	return []jobstore.Finding{f}, nil
}

const examineWorkSQL = `-- warren: examine work
SELECT coalesce((SELECT l.holder FROM warren_leaders l WHERE l.name = 'sweep' AND l.expires_at > ?1), ''),
       (SELECT count(*) FROM warren_consumers WHERE expires_at > ?1),
       (SELECT count(*) FROM jobs WHERE announce_at <= ?1 AND state = 'READY'),
       (SELECT min(announce_at) FROM jobs WHERE announce_at <= ?1 AND state = 'READY'),
       (SELECT count(*) FROM jobs WHERE state = 'READY' AND available_at <= ?1),
       (SELECT min(available_at) FROM jobs WHERE state = 'READY' AND available_at <= ?1)`

// examineWork looks at who sweeps and at what waits. It counts rows.
func (s *Store) examineWork(ctx context.Context, q session) ([]jobstore.Finding, error) {
	now := s.now()
	var leader string
	var alive, outbox, ready int64
	var announce, available sql.NullString
	err := q.query(ctx, examineWorkSQL, []any{stamp(now)}, func(r row) error {
		return r.Scan(&leader, &alive, &outbox, &announce, &ready, &available)
	})
	if err != nil {
		return nil, err
	}
	sweep := jobstore.Finding{Check: "leader", Status: jobstore.StatusOK, Value: leader + " sweeps"}
	switch {
	case leader != "":
	case alive > 0:
		sweep.Status, sweep.Value, sweep.Remedy = jobstore.StatusWarn, "nobody sweeps", "the living consumer takes over within 15s; if it does not, read its log"
	default:
		sweep.Status, sweep.Value, sweep.Remedy = jobstore.StatusWarn, "nobody sweeps, and no consumer is alive", "start one with 'consumer run'"
	}
	return []jobstore.Finding{
		sweep,
		jobstore.OutboxFinding(outbox, since(now, announce)),
		jobstore.BacklogFinding(ready, since(now, available)),
	}, nil
}

// slowCommit is when a commit, which a disk should do in milliseconds, is worth a word.
const slowCommit = 100 * time.Millisecond

const examineWriterSQL = `-- warren: examine writer
UPDATE warren_settings SET one = 1`

// examineWriter commits something, to see whether that can be done, and how fast.
func (s *Store) examineWriter(ctx context.Context) jobstore.Finding {
	f := jobstore.Finding{Check: "writer", Status: jobstore.StatusOK}
	began := time.Now()
	_, err := s.exec(ctx, examineWriterSQL)
	took := time.Since(began)
	f.Value = fmt.Sprintf("a commit took %s", took.Round(100*time.Microsecond))
	switch {
	case classify(err) == missing:
		f.Value = "not tried: there are no tables"
	case err != nil:
		f.Status, f.Value, f.Remedy = jobstore.StatusFail, s.wrap("write", err).Error(), "jobs can be neither published nor run before this works"
	case took > slowCommit:
		f.Status, f.Remedy = jobstore.StatusWarn, "the disk is slow, or another program writes to the file for long; jobs wait for commits"
	}
	return f
}

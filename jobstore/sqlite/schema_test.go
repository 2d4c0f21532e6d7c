package sqlite_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

func TestSchemaNumbers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "warren.db")
	s := open(t, path)
	want := func(name string, words ...string) {
		t.Helper()
		err := s.Check(t.Context())
		if len(words) == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			return
		}
		if !errors.Is(err, jobstore.ErrSchema) {
			t.Errorf("%s: the error is %v, want ErrSchema", name, err)
		}
		wantError(t, err, words...)
	}
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	ours, newer := len(files), len(files)+1
	want("no tables", path+" has no tables yet", fmt.Sprint("needs number ", ours), "warren migrate up")
	_, err = s.Insert(t.Context(), []jobstore.NewJob{job()})
	if !errors.Is(err, jobstore.ErrSchema) {
		t.Errorf("insert without tables: %v", err)
	}
	migrate(t, s)
	want("migrated")
	db := connect(t, path)
	run(t, db, fmt.Sprintf("INSERT INTO warren_migrations (number, name, compatible_from) VALUES (%d, 'new', %d)", newer, ours))
	want("newer and compatible")
	migrate(t, s)
	run(t, db, fmt.Sprintf("UPDATE warren_migrations SET compatible_from = %[1]d WHERE number = %[1]d", newer))
	want("newer and incompatible", fmt.Sprint("number ", newer), "upgrade this program")
	run(t, db, "DELETE FROM warren_migrations WHERE number > 1")
	want("older", "has number 1", fmt.Sprint("needs ", ours), "warren migrate up")
}

// The text for people's own tools makes what Migrate makes.
func TestMigrationSQL(t *testing.T) {
	t.Parallel()
	text, err := sqlite.MigrationSQL()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "by-hand.db")
	run(t, connect(t, path), text)
	s := open(t, path)
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	_, migrated := fresh(t)
	const schema = "SELECT count(*) FROM sqlite_schema"
	if a, b := number(t, connect(t, path), schema), number(t, connect(t, migrated), schema); a != b {
		t.Errorf("%d things by hand, %d by Migrate", a, b)
	}
}

// The sqlite3 of the system reads the schema, and what people write with it, where there is one.
func TestShell(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	shell, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Log("there is no sqlite3 here")
		return
	}
	script := `INSERT INTO jobs (kind) VALUES ('by hand'); UPDATE jobs SET state = 'FINISHED'; UPDATE jobs SET state = 'BACK_TO_BROKER';
		SELECT state, finished_at IS NULL FROM jobs;`
	out, err := exec.CommandContext(t.Context(), shell, path, script).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "BACK_TO_BROKER|1" {
		t.Errorf("sqlite3 says %q, %v", out, err)
	}
}

// The doctor finds nothing wrong with a good file, and names what is wrong with others.
func TestExamine(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	find := func(s *sqlite.Store, check string) jobstore.Finding {
		t.Helper()
		for _, f := range s.Examine(t.Context()) {
			if f.Check == check {
				return f
			}
		}
		t.Fatalf("nothing was found about %q", check)
		return jobstore.Finding{}
	}
	for _, f := range s.Examine(t.Context()) {
		if f.Check != "leader" && (f.Status == jobstore.StatusFail || f.Status == jobstore.StatusWarn && f.Check != "writer") {
			t.Errorf("a new file: %+v", f)
		}
	}
	if f := find(s, "leader"); f.Status != jobstore.StatusWarn || !strings.Contains(f.Value, "no consumer is alive") {
		t.Errorf("without a consumer: %+v", f)
	}
	register(t, s)
	if _, ok, err := s.Lead(t.Context(), "sweep", "me", patience); err != nil || !ok {
		t.Fatalf("lead: %t, %v", ok, err)
	}
	if f := find(s, "leader"); f.Status != jobstore.StatusOK || f.Value != "me sweeps" {
		t.Errorf("with a leader: %+v", f)
	}
	db := connect(t, path)
	run(t, db, "INSERT INTO jobs (kind, available_at, announce_at) VALUES ('k', '2020-01-01T00:00:00.000Z', '2020-01-01T00:00:00.000Z')")
	for _, check := range []string{"outbox", "oldest READY job"} {
		if f := find(s, check); f.Status == jobstore.StatusOK || !strings.Contains(f.Value, "1 jobs") {
			t.Errorf("an old job: %+v", f)
		}
	}
	run(t, db, "DROP INDEX jobs_ready")
	if f := find(s, "plans"); f.Status != jobstore.StatusFail || !strings.Contains(f.Value, "claim next") {
		t.Errorf("without an index: %+v", f)
	}
	empty := open(t, filepath.Join(t.TempDir(), "empty.db"))
	if f := find(empty, "schema"); f.Status != jobstore.StatusFail || !strings.Contains(f.Remedy, "migrate up") {
		t.Errorf("without tables: %+v", f)
	}
	if f := find(open(t, sqlite.Memory), "SQLite"); f.Status != jobstore.StatusOK {
		t.Errorf("in memory: %+v", f)
	}
}

package journal_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren/internal/journal"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a job that runs, and who runs it.
type rig struct {
	*testing.T
	store *sqlite.Store
	by    jobstore.Claimant
	logs  *observer.ObservedLogs
	log   *zap.Logger
}

func newRig(t *testing.T) *rig {
	t.Helper()
	store, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	by := jobstore.Claimant{Queues: []string{"q"}, Priorities: []int{1}, Kinds: []string{"k"}, Token: 1}
	if by.Holder, err = store.Register(t.Context(), jobstore.Consumer{Kinds: by.Kinds, Queues: by.Queues, Priorities: by.Priorities}, time.Hour); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.WarnLevel)
	return &rig{T: t, store: store, by: by, logs: logs, log: zap.New(core)}
}

// attempt publishes and claims a job.
func (r *rig) attempt() *jobstore.Job {
	r.Helper()
	in, err := r.store.Insert(r.Context(), []jobstore.NewJob{{Kind: "k", Queue: "q", Priority: 1, Mode: jobstore.Normal, Args: []byte("{}")}})
	if err != nil {
		r.Fatal(err)
	}
	return r.claim(in[0].ID)
}

func (r *rig) claim(id jobstore.ID) *jobstore.Job {
	r.Helper()
	got, err := r.store.Claim(r.Context(), r.by, []jobstore.ID{id})
	if err != nil || len(got.Leases) != 1 {
		r.Fatalf("claim: %+v, %v", got, err)
	}
	return &got.Leases[0].Job
}

func (r *rig) journal(maxLog int64) *journal.Journal {
	return journal.New(journal.Config{Store: r.store, MaxLog: maxLog, Log: r.log})
}

// flush has a journal write what it has: a Run that ends at once does.
func (r *rig) flush(j *journal.Journal) {
	r.Helper()
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if err := j.Run(ctx); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) texts(id jobstore.ID) (texts []string) {
	r.Helper()
	lines, err := r.store.Lines(r.Context(), jobstore.LineFilter{Job: id, Limit: 100_000})
	if err != nil {
		r.Fatal(err)
	}
	for _, l := range lines {
		texts = append(texts, l.Text)
	}
	return texts
}

func (r *rig) told(id jobstore.ID) *jobstore.Progress {
	r.Helper()
	text, err := r.store.Told(r.Context(), id)
	if err != nil {
		r.Fatal(err)
	}
	if text == nil {
		return nil
	}
	var p jobstore.Progress
	if err := json.Unmarshal(text, &p); err != nil {
		r.Fatal(err)
	}
	return &p
}

// What ends before it is its turn to be written comes with its outcome, and is not written twice.
func TestWhatHasEndedIsNotTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.journal(1 << 20)
	short, long := r.attempt(), r.attempt()
	a, b := j.Open(short, r.by.Holder), j.Open(long, r.by.Holder)
	a.Progress(1, 2, "short")
	b.Progress(1, 2, "long")
	if note := string(a.Note(true)); !strings.Contains(note, `"message":"short"`) {
		t.Errorf("the outcome brings %s", note)
	}
	a.End()
	a.Progress(2, 2, "from a goroutine that was left behind")
	r.flush(j)
	if r.told(short.ID) != nil || r.told(long.ID).Message != "long" {
		t.Errorf("told: %+v, %+v", r.told(short.ID), r.told(long.ID))
	}
	if a.Note(true) != nil || j.Open(r.attempt(), r.by.Holder).Note(true) != nil {
		t.Error("there was nothing to bring")
	}
	b.End()
	next := r.attempt()
	j.Open(next, r.by.Holder).Progress(1, 0, "sweeps up")
	r.flush(j)
	if r.told(long.ID) != nil || r.told(next.ID) == nil {
		t.Errorf("after its end there is %+v", r.told(long.ID))
	}
}

// say writes n lines of so many bytes.
func say(a *journal.Attempt, n, size int) {
	log := zap.New(a.Core())
	for i := range n {
		log.Info(fmt.Sprintf("%0*d", size, i))
	}
}

// A log keeps to its size over all attempts of its job, and says what is missing.
func TestLogKeepsToItsSize(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := r.attempt()
	for attempt, want := range []int{6, 3, 0} { // 600 bytes, and 301 more
		j := r.journal(1000)
		a := j.Open(job, r.by.Holder)
		if attempt == 0 {
			say(a, 6, 100)
		} else {
			say(a, 1, 1) // from the first statement on it is known what earlier attempts have said
			r.flush(j)
			say(a, 9, 100)
		}
		a.End()
		r.flush(j)
		long, told := 0, 0
		for _, l := range r.lines(job) {
			switch {
			case len(l.Text) == 100:
				long++
			case strings.Contains(l.Text, "is full, with 1000 bytes"), strings.Contains(l.Text, "lines were dropped, because the log is full"):
				told++
			}
		}
		if wantTold := min(2*attempt, 2); long != want || told != wantTold {
			t.Errorf("attempt %d kept %d lines and said %d times that some are missing; want %d, %d", attempt+1, long, told, want, wantTold)
		}
		out := jobstore.Outcome{ID: job.ID, LeaseNo: job.LeaseNo, State: jobstore.Ready}
		if _, err := r.store.Record(t.Context(), r.by.Holder, []jobstore.Outcome{out}); err != nil {
			t.Fatal(err)
		}
		job = r.claim(job.ID)
	}
}

// lines are those of this attempt.
func (r *rig) lines(job *jobstore.Job) []jobstore.Line {
	r.Helper()
	lines, err := r.store.Lines(r.Context(), jobstore.LineFilter{Job: job.ID, After: jobstore.LineMark{LeaseNo: job.LeaseNo}})
	if err != nil {
		r.Fatal(err)
	}
	return lines
}

// Whoever logs faster than the database takes it does not wait, and a line says how many are missing.
func TestLinesThatComeTooFast(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.journal(100 << 20)
	job := r.attempt()
	a := j.Open(job, r.by.Holder)
	say(a, 1000, 1000) // nobody writes meanwhile
	r.flush(j)
	say(a, 1, 10)
	a.End()
	r.flush(j)
	texts := r.texts(job.ID)
	kept := len(texts) - 2
	if kept < 200 || kept > 300 || texts[kept] != fmt.Sprintf("%d lines were dropped here: they came faster than they could be written", 1000-kept) {
		t.Errorf("%d lines are kept, and then: %q", kept, texts[max(0, kept):])
	}
	if j.Waiting() != 0 {
		t.Errorf("%d bytes wait when everything is written", j.Waiting())
	}
}

// A database that is away loses nothing that there is room for.
func TestADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	job := r.attempt()
	away := &flaky{Teller: r.store, fails: 2}
	j := journal.New(journal.Config{Store: away, MaxLog: 1 << 20, Log: r.log})
	a := j.Open(job, r.by.Holder)
	a.Progress(1, 2, "first")
	say(a, 3, 10)
	r.flush(j)
	a.Progress(2, 2, "second")
	r.flush(j)
	if r.told(job.ID) != nil || r.logs.Len() != 2 {
		t.Fatalf("told %+v; warned %v", r.told(job.ID), r.logs.All())
	}
	say(a, 1, 5)
	r.flush(j)
	if p := r.told(job.ID); p == nil || p.Message != "second" {
		t.Errorf("told %+v", p)
	}
	if got := r.texts(job.ID); !slices.Equal(got, []string{"0000000000", "0000000001", "0000000002", "00000"}) {
		t.Errorf("logged %q", got)
	}
}

// flaky is a store whose first calls do not arrive.
type flaky struct {
	jobstore.Teller

	fails int
}

func (f *flaky) Tell(ctx context.Context, t jobstore.Telling) (map[jobstore.ID]int64, error) {
	if f.fails--; f.fails >= 0 {
		return nil, context.DeadlineExceeded
	}
	return f.Teller.Tell(ctx, t)
}

func TestNoLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.journal(0)
	job := r.attempt()
	a := j.Open(job, r.by.Holder)
	say(a, 3, 10)
	if a.Core().Enabled(zapcore.ErrorLevel) {
		t.Error("lines are asked for")
	}
	r.flush(j)
	if got := r.texts(job.ID); len(got) != 0 {
		t.Errorf("logged %q", got)
	}
}

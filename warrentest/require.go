package warrentest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Jobs is what the Require functions look into: an Env, or the Store of a test that has a database
// of another kind.
type Jobs interface {
	List(ctx context.Context, f jobstore.Filter) ([]jobstore.Job, error)
}

// Published returns the jobs of A's kind that were published and that every match accepts, in the
// order of publishing, whatever has become of them since. What a transaction that was rolled back
// published is not there. Args that do not decode into A fail the test.
func Published[A warren.Args](tb testing.TB, jobs Jobs, match ...func(*warren.Job[A]) bool) []*warren.Job[A] {
	tb.Helper()
	var zero A
	var found []*warren.Job[A]
	for _, row := range list(tb, jobs, zero.Kind()) {
		job := &warren.Job[A]{Job: &row}
		if err := json.Unmarshal(row.Args, &job.Args); err != nil {
			tb.Fatalf("warrentest: args of job %d of kind %s are no %T: %v: %s", row.ID, row.Kind, zero, err, row.Args)
		}
		refused := func(m func(*warren.Job[A]) bool) bool { return !m(job) }
		if !slices.ContainsFunc(match, refused) {
			found = append(found, job)
		}
	}
	return found
}

// RequirePublished fails the test unless a job of A's kind was published that every match accepts,
// and says what was published instead. It returns the first one. A match sees the args and
// the row: queue, priority, available_at and so on.
func RequirePublished[A warren.Args](tb testing.TB, jobs Jobs, match ...func(*warren.Job[A]) bool) *warren.Job[A] {
	tb.Helper()
	found := Published(tb, jobs, match...)
	if len(found) == 0 {
		var zero A
		such := ""
		if len(match) > 0 {
			such = " that matches"
		}
		tb.Fatalf("warrentest: no job of kind %s%s was published; %s", zero.Kind(), such, describe(list(tb, jobs, "")))
		return nil // for a TB whose Fatalf returns
	}
	return found[0]
}

// RequireNotPublished fails the test when a job of A's kind was published that every match accepts.
func RequireNotPublished[A warren.Args](tb testing.TB, jobs Jobs, match ...func(*warren.Job[A]) bool) {
	tb.Helper()
	found := Published(tb, jobs, match...)
	if len(found) == 0 {
		return
	}
	rows := make([]jobstore.Job, len(found))
	for i, job := range found {
		rows[i] = *job.Job
	}
	tb.Fatalf("warrentest: a job of kind %s was published that should not be; %s", rows[0].Kind, describe(rows))
}

// RequireNothingPublished fails the test when any job was published.
func RequireNothingPublished(tb testing.TB, jobs Jobs) {
	tb.Helper()
	if rows := list(tb, jobs, ""); len(rows) > 0 {
		tb.Fatalf("warrentest: nothing should be published; %s", describe(rows))
	}
}

// patience is how long a database may take to list jobs, and the default of Opts.Patience.
const patience = 30 * time.Second

// list returns all jobs of a kind, or of every kind, page by page.
func list(tb testing.TB, jobs Jobs, kind string) []jobstore.Job {
	tb.Helper()
	const page = 500
	f := jobstore.Filter{Limit: page}
	if kind != "" {
		f.Kinds = []string{kind}
	}
	// A test that asks inside of its own transaction is to hear of it, not to hang.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
	defer cancel()
	var all []jobstore.Job
	for {
		rows, err := jobs.List(ctx, f)
		if err != nil {
			tb.Fatalf("warrentest: %v", err)
		}
		all = append(all, rows...)
		if len(rows) < page {
			return all
		}
		f.After = rows[page-1].ID
	}
}

// mostShown is how many jobs a message lists.
const mostShown = 20

func describe(rows []jobstore.Job) string {
	if len(rows) == 0 {
		return "nothing was published at all"
	}
	var b strings.Builder
	b.WriteString("published:")
	for _, j := range rows[:min(len(rows), mostShown)] {
		fmt.Fprintf(&b, "\n\tjob %d: kind %s, queue %s, priority %d, %s, args %s", j.ID, j.Kind, j.Queue, j.Priority, j.State, j.Args)
		if j.AvailableAt.After(j.CreatedAt) {
			fmt.Fprintf(&b, ", due %s after its publishing", j.AvailableAt.Sub(j.CreatedAt))
		}
	}
	if more := len(rows) - mostShown; more > 0 {
		fmt.Fprintf(&b, "\n\tand %d more", more)
	}
	return b.String()
}

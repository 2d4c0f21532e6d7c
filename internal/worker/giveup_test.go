package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// A job is given up when its errors or its time are used up, by the database's clock.
func TestDecideGivesUp(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	since := func(ago time.Duration) []byte {
		return fmt.Appendf(nil, `{"warren.failing_since": %q, "own": 1}`, began.Add(-ago).Format(time.RFC3339Nano))
	}
	until := func(d time.Duration) func(*jobstore.Job) time.Time {
		return func(*jobstore.Job) time.Time { return began.Add(d) }
	}
	for name, c := range map[string]struct {
		job    jobstore.Job
		policy worker.Policy
		want   jobstore.State
		since  time.Time
	}{
		"errors left":                       {jobstore.Job{Attempts: 2}, worker.Policy{MaxErrors: 3}, failed, time.Time{}},
		"errors used up":                    {jobstore.Job{Attempts: 3}, worker.Policy{MaxErrors: 3}, forPerson, time.Time{}},
		"crashes are no errors":             {jobstore.Job{Attempts: 4, Crashes: 2}, worker.Policy{MaxErrors: 3}, failed, time.Time{}},
		"attempts used up first":            {jobstore.Job{Attempts: 2, MaxAttempts: 2}, worker.Policy{MaxErrors: 3}, forPerson, time.Time{}},
		"first failure":                     {jobstore.Job{Attempts: 1}, worker.Policy{RetryFor: time.Hour}, failed, began.Add(time.Second)},
		"first failure, no time at all":     {jobstore.Job{Attempts: 1}, worker.Policy{RetryFor: time.Second}, forPerson, began.Add(time.Second)},
		"time left":                         {jobstore.Job{Attempts: 2, Metadata: since(58 * time.Minute)}, worker.Policy{RetryFor: time.Hour}, failed, began.Add(-58 * time.Minute)},
		"the next would be late":            {jobstore.Job{Attempts: 2, Metadata: since(59*time.Minute + 30*time.Second)}, worker.Policy{RetryFor: time.Hour}, forPerson, began.Add(-59*time.Minute - 30*time.Second)},
		"begun anew":                        {jobstore.Job{Attempts: 1, Metadata: since(time.Hour)}, worker.Policy{RetryFor: time.Hour}, failed, began.Add(time.Second)},
		"a note from the future":            {jobstore.Job{Attempts: 2, Metadata: since(-time.Hour)}, worker.Policy{RetryFor: time.Hour}, failed, began.Add(time.Second)},
		"a note that is none":               {jobstore.Job{Attempts: 2, Metadata: []byte(`{"warren.failing_since": [1]}`)}, worker.Policy{RetryFor: time.Hour}, failed, began.Add(time.Second)},
		"until later":                       {jobstore.Job{Attempts: 1}, worker.Policy{RetryUntil: until(2 * time.Minute)}, failed, time.Time{}},
		"until before the next":             {jobstore.Job{Attempts: 1}, worker.Policy{RetryUntil: until(time.Minute)}, forPerson, time.Time{}},
		"until, but no time for this job":   {jobstore.Job{Attempts: 1}, worker.Policy{RetryUntil: func(*jobstore.Job) time.Time { return time.Time{} }}, failed, time.Time{}},
		"until panics: that is the failure": {jobstore.Job{Attempts: 1}, worker.Policy{RetryUntil: func(*jobstore.Job) time.Time { panic("ouch") }}, failed, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.job.AttemptedAt = &began
			c.policy.Took, c.policy.Backoff = time.Second, func(int) time.Duration { return time.Minute }
			d := worker.Decide(&jobstore.Lease{Job: c.job}, errBoom, nil, c.policy)
			if d.Outcome.State != c.want || !d.FailingSince.Equal(c.since) || d.Outcome.State == forPerson && d.Outcome.Delay != 0 {
				t.Errorf("%s after %s, failing since %s; want %s, %s", d.Outcome.State, d.Outcome.Delay, d.FailingSince, c.want, c.since)
			}
		})
	}
}

package warrentest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// digest is a kind that a schedule publishes.
type digest struct{}

func (digest) Kind() string { return "digest" }

// A test moves the clock over the times of a schedule, a change of clocks among them.
func TestSchedules(t *testing.T) {
	t.Parallel()
	var ticks []string
	registry := &warren.Registry{}
	warren.RegisterFunc(registry, func(_ context.Context, job *warren.Job[digest]) error {
		_, tick, ok := warren.TickOf(job.Job)
		if !ok {
			t.Error("the job has no tick")
		}
		ticks = append(ticks, tick.Format(time.RFC3339))
		return nil
	})
	env := warrentest.New(t, registry, warrentest.Opts{
		Start:     time.Date(2026, 3, 28, 0, 0, 0, 0, time.UTC),
		Schedules: []warren.Schedule{{Name: "nightly", When: warren.Cron("30 2 * * *"), Zone: "Europe/Berlin", Args: digest{}}},
	})
	warrentest.RequirePublished[digest](t, env)
	if attempts := env.Drain(); len(attempts) != 0 {
		t.Errorf("before its time it ran: %v", attempts)
	}
	for range 3 * 24 {
		env.Advance(time.Hour)
		env.Drain()
	}
	if want := []string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}; !slices.Equal(ticks, want) {
		t.Errorf("it ran at %q, want %q", ticks, want)
	}
	env.Advance(10 * 24 * time.Hour)
	if attempts := env.Drain(); len(attempts) != 1 || attempts[0].State != jobstore.Finished {
		t.Errorf("after ten days without anybody: %v", attempts)
	}
	id, err := env.Client().Schedules(env.Store()).Run(t.Context(), "nightly")
	if err != nil {
		t.Fatal(err)
	}
	if attempts := env.Drain(); len(attempts) != 1 || attempts[0].Job.ID != id {
		t.Errorf("run now: %v", attempts)
	}
}

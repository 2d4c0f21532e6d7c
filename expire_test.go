package warren_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// A job that nobody started in time is CANCELLED when a consumer comes to it; one that has started before runs,
// and so does one that a person retries.
func TestExpireAfter(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	o := warren.PublishOpts{ExpireAfter: time.Minute, Metadata: map[string]int{"n": 1}}
	late := publishRaw(t, env.Client(), `{}`, o).ID
	env.Advance(time.Minute + time.Second)
	soon := publishRaw(t, env.Client(), `{}`, warren.PublishOpts{ExpireAfter: time.Minute}).ID
	env.Advance(time.Minute)
	env.Drain()
	job := env.Job(late)
	if job.State != jobstore.Cancelled || !strings.Contains(job.Error, "it started 2m1s after it was due, and was to start within 1m0s") {
		t.Errorf("the late one is %s: %s", job.State, job.Error)
	}
	if job := env.Job(soon); job.State != jobstore.Finished {
		t.Errorf("the other one is %s: %s", job.State, job.Error)
	}
	if _, err := env.Store().Retry(t.Context(), []jobstore.ID{late}); err != nil {
		t.Fatal(err)
	}
	env.Advance(time.Hour)
	env.Drain()
	if job := env.Job(late); job.State != jobstore.Finished {
		t.Errorf("retried it is %s: %s", job.State, job.Error)
	}
	for want, o := range map[string]warren.PublishOpts{
		"expire-after -1s is negative": {ExpireAfter: -time.Second},
		"does not go with mode":        {ExpireAfter: time.Second, Mode: jobstore.Recurring, Identifier: "x", Every: time.Hour},
		"no JSON object":               {ExpireAfter: time.Second, Metadata: "text"},
	} {
		_, err := env.Client().PublishRaw(t.Context(), "letter", nil, o)
		if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

// A job that was claimed ahead and handed back has not started: it is still to start in time.
func TestAJobThatWasHandedBackStillExpires(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{"in time": 50 * time.Second, "too late": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := warrentest.New(t, quiet())
			id := publishRaw(t, env.Client(), `{}`, warren.PublishOpts{ExpireAfter: time.Minute}).ID
			for range 2 {
				handBack(t, env, id)
				env.Advance(5 * time.Second)
			}
			env.Advance(after - 9*time.Second)
			env.Drain()
			job, want := env.Job(id), jobstore.Finished
			if after == time.Minute {
				want = jobstore.Cancelled
			}
			if job.State != want {
				t.Errorf("started %s after it was due it is %s: %s", after+time.Second, job.State, job.Error)
			}
			if _, err := env.Store().Retry(t.Context(), []jobstore.ID{id}); err != nil {
				t.Fatal(err)
			}
			env.Advance(time.Hour)
			env.Drain()
			if job := env.Job(id); job.State != jobstore.Finished {
				t.Errorf("retried it is %s: %s", job.State, job.Error)
			}
		})
	}
}

// handBack claims a job and hands it back unstarted, as a consumer does whose slots are taken.
func handBack(t *testing.T, env *warrentest.Env, id jobstore.ID) {
	t.Helper()
	store, job := env.Store(), env.Job(id)
	by := jobstore.Claimant{Queues: []string{job.Queue}, Priorities: []int{job.Priority}, Kinds: []string{job.Kind}, Token: 1}
	var err error
	if by.Holder, err = store.Register(t.Context(), jobstore.Consumer{Queues: by.Queues, Priorities: by.Priorities, Kinds: by.Kinds}, time.Hour); err != nil {
		t.Fatal(err)
	}
	got, err := store.Claim(t.Context(), by, []jobstore.ID{id})
	if err != nil || len(got.Leases) != 1 {
		t.Fatal(got, err)
	}
	lease := &got.Leases[0].Job
	rec, err := store.Record(t.Context(), by.Holder, []jobstore.Outcome{{
		ID: id, LeaseNo: lease.LeaseNo, State: jobstore.Ready, Uncount: true, Metadata: warren.StillUnstarted(lease),
	}})
	if err != nil || len(rec.Fenced) > 0 {
		t.Fatal(rec, err)
	}
}

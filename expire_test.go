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

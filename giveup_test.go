package warren_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// failingEnv is an installation in memory whose one handler fails.
func failingEnv(t *testing.T, opts warren.KindOpts) *warrentest.Env {
	t.Helper()
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(context.Context, *warren.Job[mail]) error { return errOther }, opts)
	return warrentest.New(t, &registry)
}

// A job that fails for too long is given up, however many attempts that were; somebody may let it begin anew.
func TestRetryFor(t *testing.T) {
	t.Parallel()
	env := failingEnv(t, warren.KindOpts{RetryFor: 40*time.Minute + 30*time.Second, Backoff: warren.BackoffSteps(time.Minute)})
	if _, err := env.Client().Publish(t.Context(), mail{}, warren.PublishOpts{Delay: 24 * time.Hour, Metadata: map[string]int{"own": 1}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		env.Advance(24 * time.Hour) // the delay is no failure
		attempts := 0
		for range 60 {
			attempts += len(env.Drain())
			if env.Job(1).State.Final() {
				break
			}
			env.Advance(time.Minute)
		}
		job := env.Job(1)
		if job.State != jobstore.PermanentlyFailed || attempts != 41 || job.MaxAttempts != 0 || !strings.Contains(string(job.Metadata), `"own"`) {
			t.Fatalf("%s after %d attempts, metadata %s", job.State, attempts, job.Metadata)
		}
		if _, err := env.Store().Retry(t.Context(), []jobstore.ID{1}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRetryUntil(t *testing.T) {
	t.Parallel()
	env := failingEnv(t, warren.KindOpts{
		MaxAttempts: 10, Backoff: warren.BackoffSteps(time.Minute),
		RetryUntil: func(job *jobstore.Job) time.Time { return job.CreatedAt.Add(2*time.Minute + 30*time.Second) },
	})
	publishMails(t, env, "1")
	for range 5 {
		env.Drain()
		env.Advance(time.Minute)
	}
	if job := env.Job(1); job.State != jobstore.PermanentlyFailed || job.Attempts != 3 {
		t.Errorf("%s after %d attempts, want 3", job.State, job.Attempts)
	}
}

// Waiting is no error.
func TestMaxErrors(t *testing.T) {
	t.Parallel()
	answers := []error{errOther, warren.Wait(0, nil), warren.Wait(0, nil), errOther, warren.Wait(0, nil), errOther}
	var registry warren.Registry
	warren.RegisterFunc(&registry, func(_ context.Context, job *warren.Job[mail]) error { return answers[job.LeaseNo-1] },
		warren.KindOpts{MaxErrors: 3, Backoff: warren.BackoffSteps(0)})
	env := warrentest.New(t, &registry)
	publishMails(t, env, "1")
	got := env.Drain()
	if job := env.Job(1); len(got) != len(answers) || job.State != jobstore.PermanentlyFailed || job.Attempts != 3 {
		t.Errorf("%v; %s after %d attempts", got, job.State, job.Attempts)
	}
}

// refund is a handler that wants to know when its job has failed for good.
type refund struct{ told *[]string }

func (refund) Handle(context.Context, *warren.Job[mail]) error { return warren.Permanent(errOther) }

func (r refund) OnFailed(_ context.Context, job *warren.Job[mail], err error) {
	*r.told = append(*r.told, fmt.Sprintf("handler %s: %v", job.Args.To, errors.Is(err, errOther)))
}

func TestOnFailed(t *testing.T) {
	t.Parallel()
	var told []string
	var registry warren.Registry
	warren.Register(&registry, refund{&told}, warren.KindOpts{OnFailed: func(_ context.Context, job *jobstore.Job, _ error) {
		told = append(told, "kind "+job.Kind)
	}})
	env := warrentest.New(t, &registry)
	publishMails(t, env, "ada")
	if _, err := env.Client().PublishRaw(t.Context(), "mail", []int{1}); err != nil { // no args of the kind
		t.Fatal(err)
	}
	env.Drain()
	if want := []string{"handler ada: true", "kind mail", "handler : false", "kind mail"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestKindOptsRefuse(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]warren.KindOpts{
		"kind mail: timeout -1s is negative":   {Timeout: -time.Second},
		"kind mail: max errors -1 is negative": {MaxErrors: -1},
		"kind mail: retry for -1s is negative": {RetryFor: -time.Second},
	} {
		var r warren.Registry
		warren.RegisterFunc(&r, noError, o)
		if _, err := warren.NewConsumer(warren.ConsumerConfig{Registry: &r}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	var r warren.Registry
	warren.RegisterFunc(&r, noError)
	for want, c := range map[string]warren.ConsumerConfig{
		"grace -1s is negative":    {Registry: &r, Grace: -time.Second},
		"max stuck -1 is negative": {Registry: &r, MaxStuck: -1},
	} {
		c.Store = warrentest.New(t, &r).Store()
		if _, err := warren.NewConsumer(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// Lists, curves and functions say how long a job waits after a failure; any of them can be spread.
func TestBackoffs(t *testing.T) {
	t.Parallel()
	at := func(curve func(int) time.Duration) (d []time.Duration) {
		for attempt := range 5 {
			d = append(d, curve(attempt+1))
		}
		return d
	}
	const s = time.Second
	if got := at(warren.BackoffSteps(s, 5*s, 30*s)); !slices.Equal(got, []time.Duration{s, 5 * s, 30 * s, 30 * s, 30 * s}) {
		t.Errorf("steps %v", got)
	}
	if got := at(warren.BackoffExponential(s, 5*s)); !slices.Equal(got, []time.Duration{s, 2 * s, 4 * s, 5 * s, 5 * s}) {
		t.Errorf("exponential %v", got)
	}
	if got := at(warren.BackoffJitter(-1, func(attempt int) time.Duration { return time.Duration(attempt) })); !slices.Equal(got, []time.Duration{1, 2, 3, 4, 5}) {
		t.Errorf("a function %v", got)
	}
	seen := map[time.Duration]bool{}
	curve := warren.BackoffJitter(0.5, warren.BackoffSteps(time.Minute))
	for range 100 {
		d := curve(1)
		if d < 30*s || d > 90*s {
			t.Fatalf("a minute ±50 %% came to %s", d)
		}
		seen[d] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d delays of 100 differ", len(seen))
	}
}

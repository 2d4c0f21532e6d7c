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

// guardedEnv is an installation in memory whose one handler does what f says.
func guardedEnv(t *testing.T, g warren.Guards, f func(ctx context.Context, job *warren.Job[mail]) error) *warrentest.Env {
	t.Helper()
	var registry warren.Registry
	warren.RegisterFunc(&registry, f, warren.KindOpts{Guards: g, Backoff: warren.BackoffSteps(time.Hour)})
	return warrentest.New(t, &registry)
}

func noError(context.Context, *warren.Job[mail]) error { return nil }

func publishMails(t *testing.T, env *warrentest.Env, to ...string) {
	t.Helper()
	for _, name := range to {
		if _, err := env.Client().Publish(t.Context(), mail{To: name}); err != nil {
			t.Fatal(err)
		}
	}
}

// summary is what became of each attempt, in order: FINISHED, or WAITING and for how long.
func summary(attempts []warrentest.Attempt) string {
	words := make([]string, len(attempts))
	for i, a := range attempts {
		words[i] = string(a.State)
		if a.Delay > 0 {
			words[i] += " " + a.Delay.String()
		}
		if a.State == jobstore.Finished && a.Job.Error != "" {
			words[i] += " (" + a.Job.Error + ")"
		}
	}
	return strings.Join(words, ", ")
}

func wantSummary(t *testing.T, what string, attempts []warrentest.Attempt, want ...string) {
	t.Helper()
	if got := summary(attempts); got != strings.Join(want, ", ") {
		t.Fatalf("%s: %s, want %s", what, got, strings.Join(want, ", "))
	}
}

// Every job that has to wait gets a moment of its own, comes back once, and uses up no attempt.
func TestRateLimit(t *testing.T) {
	t.Parallel()
	env := guardedEnv(t, warren.Guards{RateLimits: []warren.RateLimit{{Name: "api", Limit: warren.PerSecond(2)}}}, noError)
	publishMails(t, env, "1", "2", "3", "4", "5")
	wantSummary(t, "at once", env.Drain(), "FINISHED", "FINISHED", "WAITING 500ms", "WAITING 1s", "WAITING 1.5s")
	if job := env.Job(3); job.Error != "rate limit api is used up" || job.Attempts != 0 {
		t.Errorf("the third: %d attempts, error %q", job.Attempts, job.Error)
	}
	publishMails(t, env, "6")
	wantSummary(t, "a new one goes behind those that wait", env.Drain(), "WAITING 2s")
	for i := range 4 {
		env.Advance(499 * time.Millisecond)
		wantSummary(t, "early", env.Drain())
		env.Advance(time.Millisecond)
		got := env.Drain()
		wantSummary(t, "at its moment", got, "FINISHED")
		if job := got[0].Job; int(job.ID) != i+3 || job.LeaseNo != 2 || job.Attempts != 1 {
			t.Errorf("job %d, lease %d, attempts %d", job.ID, job.LeaseNo, job.Attempts)
		}
	}
	env.Advance(time.Minute)
	publishMails(t, env, "7", "8", "9")
	wantSummary(t, "after a quiet time", env.Drain(), "FINISHED", "FINISHED", "WAITING 500ms")
}

// While no consumer was there the moments of many have passed. They come all at once, and the limit holds.
func TestRateLimitAfterAnOutage(t *testing.T) {
	t.Parallel()
	limit := warren.PerMinute(60).WithBurst(3)
	env := guardedEnv(t, warren.Guards{RateLimits: []warren.RateLimit{{Name: "api", Limit: limit}}}, noError)
	publishMails(t, env, slices.Repeat([]string{"x"}, 40)...)
	if n := strings.Count(summary(env.Drain()), "FINISHED"); n != 3 {
		t.Fatalf("%d began at once, want 3", n)
	}
	began := 0
	env.Advance(time.Hour)
	for range 37 {
		n := strings.Count(summary(env.Drain()), "FINISHED")
		if began == 0 && n > 5 { // the burst, and one that holds on for up to a second
			t.Fatalf("%d began at once after the outage", n)
		}
		if began += n; began == 37 {
			break
		}
		env.Advance(time.Second)
	}
	if began != 37 {
		t.Errorf("%d of 37 began", began)
	}
}

func TestRateLimitKeysAndCosts(t *testing.T) {
	t.Parallel()
	limits := []warren.RateLimit{
		{
			Name: "user", Limit: warren.PerHour(2), Key: func(job *jobstore.Job) string { return job.Identifier },
			Cost: func(job *jobstore.Job) int { return len(job.Tags) },
		},
		{Name: "vip", LimitOf: func(job *jobstore.Job) warren.Limit {
			if job.Identifier == "ada" {
				return warren.Limit{}
			}
			return warren.PerDay(24).WithBurst(1)
		}},
	}
	env := guardedEnv(t, warren.Guards{RateLimits: limits}, noError)
	long := strings.Repeat("k", 250)
	for _, o := range []warren.PublishOpts{
		{Identifier: "ada", Tags: []string{"1"}},
		{Identifier: "ada"},                                // costs nothing
		{Identifier: "ada", Tags: []string{"1", "2", "3"}}, // as much as the burst
		{Identifier: "bob", Tags: []string{"1"}},
		{Identifier: long, Tags: []string{"1"}}, // stopped by the second limit
	} {
		if _, err := env.Client().Publish(t.Context(), mail{}, o); err != nil {
			t.Fatal(err)
		}
	}
	wantSummary(t, "costs", env.Drain(), "FINISHED", "FINISHED", "WAITING 30m0s", "FINISHED", "WAITING 1h0m0s")
	env.Advance(30 * time.Minute)
	wantSummary(t, "ada has saved up", env.Drain(), "FINISHED")
	env.Advance(30 * time.Minute)
	wantSummary(t, "the first limit has counted it already", env.Drain(), "FINISHED")
}

func TestRateLimitDrop(t *testing.T) {
	t.Parallel()
	limits := []warren.RateLimit{{Name: "news", Limit: warren.PerHour(1), Drop: true}}
	env := guardedEnv(t, warren.Guards{RateLimits: limits}, noError)
	publishMails(t, env, "1", "2", "3")
	const dropped = "FINISHED (rate limit news is used up)"
	wantSummary(t, "dropped", env.Drain(), "FINISHED", dropped, dropped)
	env.Advance(time.Hour)
	publishMails(t, env, "4")
	wantSummary(t, "an hour later", env.Drain(), "FINISHED")
}

// A limit of the registry is shared by all kinds, and by whoever uses its name.
func TestGuardsOfARegistry(t *testing.T) {
	t.Parallel()
	var registry warren.Registry
	registry.Guard(warren.Guards{RateLimits: []warren.RateLimit{{Name: "all", Limit: warren.PerMinute(1)}}})
	registry.Raw("a", func(context.Context, *jobstore.Job) error { return nil })
	registry.Raw("b", func(context.Context, *jobstore.Job) error { return nil })
	env := warrentest.New(t, &registry)
	for _, kind := range []string{"a", "b"} {
		if _, err := env.Client().PublishRaw(t.Context(), kind, nil); err != nil {
			t.Fatal(err)
		}
	}
	wantSummary(t, "two kinds", env.Drain(), "FINISHED", "WAITING 1m0s")
}

// What cannot work is said when the consumer is made, with the value and what would do.
func TestGuardsRefuse(t *testing.T) {
	t.Parallel()
	limit := func(l warren.Limit) warren.Guards {
		return warren.Guards{RateLimits: []warren.RateLimit{{Name: "x", Limit: l}}}
	}
	lock := func(l warren.Lock) warren.Guards { return warren.Guards{Locks: []warren.Lock{l}} }
	breaker := func(b warren.Breaker) warren.Guards { return warren.Guards{Breakers: []warren.Breaker{b}} }
	for want, g := range map[string]warren.Guards{
		"a rate limit has no name":      {RateLimits: []warren.RateLimit{{Limit: warren.PerSecond(1)}}},
		"rate limit x has no Limit":     limit(warren.Limit{}),
		"a rate of 0 lets nothing":      limit(warren.PerSecond(0)),
		"a rate of -5 lets nothing":     limit(warren.PerSecond(-5)),
		"a rate per 0s is none":         limit(warren.Limit{Rate: 1}),
		"a rate per -1s is none":        limit(warren.Limit{Rate: 1, Per: -time.Second}),
		"at most 8784h0m0s":             limit(warren.Limit{Rate: 1, Per: 1 << 62}),
		"no limit for a database":       limit(warren.PerSecond(1_000_000)),
		"a burst of -1 is outside":      limit(warren.PerSecond(1).WithBurst(-1)),
		"more than ten years":           limit(warren.PerDay(1).WithBurst(1_000_000)),
		"has both Limit and LimitOf":    {RateLimits: []warren.RateLimit{{Name: "x", Limit: warren.PerDay(1), LimitOf: func(*jobstore.Job) warren.Limit { return warren.PerDay(2) }}}},
		"has 10240 bytes":               lock(warren.Lock{Name: strings.Repeat("k", 10240)}),
		"contains a control character":  lock(warren.Lock{Name: "a\nb"}),
		"-1 places are outside":         lock(warren.Lock{Name: "x", Places: -1}),
		"a retry after -1s is too soon": lock(warren.Lock{Name: "x", Retry: -time.Second}),
		"a retry after 1ns is too soon": lock(warren.Lock{Name: "x", Retry: 1}),
		"a breaker has no name":         breaker(warren.Breaker{}),
		"-1 errors are outside":         breaker(warren.Breaker{Name: "x", Errors: -1}),
		"errors within -1s":             breaker(warren.Breaker{Name: "x", Within: -time.Second}),
		"a cooldown of -1s":             breaker(warren.Breaker{Name: "x", Cooldown: -time.Second}),
	} {
		var ofKind, ofRegistry warren.Registry
		warren.RegisterFunc(&ofKind, noError, warren.KindOpts{Guards: g})
		warren.RegisterFunc(&ofRegistry, noError)
		ofRegistry.Guard(g)
		for _, r := range []*warren.Registry{&ofKind, &ofRegistry} {
			_, err := warren.NewConsumer(warren.ConsumerConfig{Registry: r})
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
	}
	// A limit that is computed for a job fails that job's attempt, and says why.
	env := guardedEnv(t, warren.Guards{RateLimits: []warren.RateLimit{{Name: "x", LimitOf: func(*jobstore.Job) warren.Limit {
		return warren.PerSecond(-1)
	}}}}, noError)
	publishMails(t, env, "1")
	if got := env.Drain(); len(got) != 1 || got[0].State != jobstore.TemporarilyFailed || !strings.Contains(got[0].Job.Error, "a rate of -1") {
		t.Errorf("%v", got)
	}
}

// A key of any length and any bytes is a key.
func TestGuardKeys(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]string{"10 KB": strings.Repeat("k", 10<<10), "bytes": "\xff\x00", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			of := func(job *jobstore.Job) string { return key + string(job.Args) }
			env := guardedEnv(t, warren.Guards{
				RateLimits: []warren.RateLimit{{Name: "l", Limit: warren.PerHour(1), Key: of}},
				Locks:      []warren.Lock{{Name: "l", Key: of}}, Breakers: []warren.Breaker{{Name: "l", Key: of, Errors: 1}},
			}, noError)
			publishMails(t, env, "1", "1", "2")
			wantSummary(t, "two keys", env.Drain(), "FINISHED", "WAITING 1h0m0s", "FINISHED")
		})
	}
}

// While a job has the lock, another one waits or is skipped, and the place is free afterwards.
func TestLock(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		t.Run(fmt.Sprintf("skip %t", skip), func(t *testing.T) {
			t.Parallel()
			var env *warrentest.Env
			var inside []warrentest.Attempt
			env = guardedEnv(t, warren.Guards{Locks: []warren.Lock{{Name: "report", Retry: time.Hour, Skip: skip}}},
				func(_ context.Context, job *warren.Job[mail]) error {
					if job.Args.To == "outer" {
						inside = env.Drain() //nolint:contextcheck // it has the patience of the Env
					}
					return nil
				})
			publishMails(t, env, "outer", "inner")
			got := env.Drain()
			if skip {
				wantSummary(t, "inside", inside, "FINISHED (lock report is taken)")
				wantSummary(t, "all", got, "FINISHED")
				return
			}
			if len(inside) != 1 || inside[0].State != jobstore.Waiting || inside[0].Delay < 50*time.Minute {
				t.Errorf("inside: %v", inside)
			}
			// It did not wait for its hour: the lock was given back.
			wantSummary(t, "all", got, "FINISHED", "FINISHED")
			if job := env.Job(2); job.Attempts != 1 || job.LeaseNo != 2 {
				t.Errorf("attempts %d, lease %d", job.Attempts, job.LeaseNo)
			}
		})
	}
}

// Failures open a breaker for all jobs that share its name; one job tries after the cooldown.
func TestBreaker(t *testing.T) {
	t.Parallel()
	broken := true
	errDown := errors.New("down")
	var changes []string
	env := guardedEnv(t, warren.Guards{Breakers: []warren.Breaker{{
		Name: "api", Errors: 2, Within: time.Minute, Cooldown: time.Minute,
		Changed: func(key string, open bool, err error) {
			changes = append(changes, fmt.Sprintf("%s %t %v", key, open, err))
		},
	}}}, func(_ context.Context, job *warren.Job[mail]) error {
		switch {
		case job.Args.To == "bad args":
			return warren.Permanent(errors.New("who?"))
		case job.Args.To == "panic" && broken:
			panic("down")
		case broken:
			return errDown
		}
		return nil
	})
	publishMails(t, env, "bad args", "bad args", "1", "panic", "2", "3")
	got := env.Drain()
	if s := summary(got[:4]); s != "PERMANENTLY_FAILED, PERMANENTLY_FAILED, TEMPORARILY_FAILED 1h0m0s, TEMPORARILY_FAILED 1h0m0s" {
		t.Fatalf("%s", s)
	}
	for _, a := range got[4:] {
		if a.State != jobstore.Waiting || a.Delay < time.Minute || a.Delay > 75*time.Second || a.Job.Attempts != 0 || a.Job.Error != "breaker api is open" {
			t.Errorf("%v, error %q, delay %s", a, a.Job.Error, a.Delay)
		}
	}
	env.Advance(75 * time.Second)
	got = env.Drain() // one tries, in vain; the other waits again
	if len(got) != 2 || got[0].State != jobstore.TemporarilyFailed || got[1].State != jobstore.Waiting {
		t.Fatalf("%v", got)
	}
	broken = false
	env.Advance(75 * time.Second)
	wantSummary(t, "the try goes well", env.Drain(), "FINISHED")
	publishMails(t, env, "4")
	wantSummary(t, "closed", env.Drain(), "FINISHED")
	if want := "api true panic: down, api true down, api false <nil>"; strings.Join(changes, ", ") != want {
		t.Errorf("changes %q, want %q", strings.Join(changes, ", "), want)
	}
}

// Which errors count can be said.
func TestBreakerWhen(t *testing.T) {
	t.Parallel()
	errDown := errors.New("down")
	env := guardedEnv(t, warren.Guards{Breakers: []warren.Breaker{{
		Name: "api", Errors: 1, When: func(err error) bool { return errors.Is(err, errDown) },
	}}}, func(_ context.Context, job *warren.Job[mail]) error {
		if job.Args.To == "down" {
			return errDown
		}
		return errors.New("another")
	})
	publishMails(t, env, "1", "2", "down", "3")
	if got := env.Drain(); len(got) != 4 || got[1].State != jobstore.TemporarilyFailed || got[3].State != jobstore.Waiting {
		t.Errorf("%v", got)
	}
}

// Keys that are made of encrypted args are nowhere in the clear: not in the guards' tables, not in what the job says.
func TestGuardsOfEncryptedKinds(t *testing.T) {
	t.Parallel()
	of := func(job *jobstore.Job) string { return string(job.Args) }
	var registry warren.Registry
	warren.RegisterFunc(&registry, noError, warren.KindOpts{Encrypted: true, Guards: warren.Guards{
		RateLimits: []warren.RateLimit{{Name: "l", Limit: warren.PerHour(1), Key: of}},
		Locks:      []warren.Lock{{Name: "l", Key: of}}, Breakers: []warren.Breaker{{Name: "l", Key: of}},
	}})
	env := warrentest.New(t, &registry, warrentest.Opts{Keys: ringOf(t, keyText(t, "k1")...)})
	publishMails(t, env, secretArgs, secretArgs, "another")
	wantSummary(t, "two keys", env.Drain(), "FINISHED", "WAITING 1h0m0s", "FINISHED")
	job := env.Job(2)
	if all := fmt.Sprintf("%s %s", job.Error, job.Metadata); strings.Contains(all, secretArgs) || !strings.Contains(all, "l:sha256:") {
		t.Errorf("the job says %s", all)
	}
}

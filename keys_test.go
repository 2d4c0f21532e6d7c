package warren_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/jobstore/sqlite"
	"github.com/warrenq/warren/warrentest"
)

const secretArgs = "S3CR3T-CANARY-args"

// keyText makes keys by name; ringOf reads them.
func keyText(t *testing.T, names ...string) []string {
	t.Helper()
	keys := make([]string, len(names))
	for i, name := range names {
		var err error
		if keys[i], err = warren.GenerateKey(name); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func ringOf(t *testing.T, keys ...string) *warren.KeyRing {
	t.Helper()
	ring, err := warren.ParseKeys(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Args are encrypted in the row, and in the clear for the handler and all middleware; observers see them as
// they are stored.
func TestEncryptedArgs(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var seen, outside, observed atomic.Pointer[string]
		r := handle(func(_ context.Context, job *warren.Job[mail]) error { seen.Store(&job.Args.To); return nil }, warren.KindOpts{Encrypted: true})
		r.Use(func(next warren.RawHandler) warren.RawHandler {
			return func(ctx context.Context, job *jobstore.Job) error {
				outside.Store(new(string(job.Args)))
				return next(ctx, job)
			}
		})
		c := consumerOf(t, warren.ConsumerConfig{
			Store: store, Broker: b, Registry: r, Keys: ringOf(t, keyText(t, "k1")...),
			Hooks: warren.Hooks{Before: func(_ context.Context, job *jobstore.Job) error {
				observed.Store(new(string(job.Args)))
				return nil
			}},
		})
		job := awaitState(t, store, publish(t, c.Client(), secretArgs), jobstore.Finished)
		if *seen.Load() != secretArgs || !strings.Contains(*outside.Load(), secretArgs) {
			t.Errorf("the handler saw %q, middleware %q", *seen.Load(), *outside.Load())
		}
		for _, text := range []string{string(job.Args), *observed.Load(), fmt.Sprintf("%+v", job)} {
			if strings.Contains(text, secretArgs) {
				t.Errorf("in the clear: %s", text)
			}
		}
		if !strings.HasPrefix(job.Identifier, "sealed:") {
			t.Errorf("its identifier is %q", job.Identifier)
		}
	})
}

// What is called when a job has failed for good gets its args in the clear, too.
func TestEncryptedArgsOfAFailedJob(t *testing.T) {
	t.Parallel()
	var seen string
	var r warren.Registry
	r.Raw("letter", func(context.Context, *jobstore.Job) error { return warren.Permanent(errors.New("no")) }, warren.KindOpts{
		Encrypted: true, OnFailed: func(_ context.Context, job *jobstore.Job, _ error) { seen = string(job.Args) },
	})
	env := warrentest.New(t, &r)
	publishRaw(t, env.Client(), `{"to":7}`, warren.PublishOpts{})
	env.Drain()
	if seen != `{"to":7}` {
		t.Errorf("OnFailed saw %s", seen)
	}
}

// An identifier of the job's own is kept, series and replacing go on, and a request of a key ring's user is
// answered from the row.
func TestEncryptedJobsWithKeys(t *testing.T) {
	t.Parallel()
	var got []string
	var r warren.Registry
	r.Raw("letter", func(_ context.Context, job *jobstore.Job) error { got = append(got, string(job.Args)); return nil }, warren.KindOpts{Encrypted: true})
	env := warrentest.New(t, &r)
	series := publishRaw(t, env.Client(), `{"n":1}`, warren.PublishOpts{Mode: jobstore.Recurring, Identifier: "tick", Every: time.Hour})
	put := warren.PublishOpts{UniqueBy: []string{"to"}, Debounce: time.Minute}
	for n := range 3 {
		publishRaw(t, env.Client(), fmt.Sprintf(`{"to":7,"n":%d}`, n), put)
	}
	for range 3 {
		env.Advance(time.Hour)
		env.Drain()
	}
	if want := `{"n":1}|{"to":7,"n":2}|{"n":1}|{"n":1}`; strings.Join(got, "|") != want {
		t.Errorf("ran with %v", got)
	}
	if job := env.Job(series.ID); job.Identifier != "tick" {
		t.Errorf("the identifier is %q", job.Identifier)
	}
}

// What was changed in the database, moved from another job, or written there in the clear is not run.
func TestTamperedArgs(t *testing.T) {
	t.Parallel()
	var runs int
	var r warren.Registry
	r.Raw("letter", func(context.Context, *jobstore.Job) error { runs++; return nil }, warren.KindOpts{Encrypted: true})
	env := warrentest.New(t, &r)
	mine := env.Job(publishRaw(t, env.Client(), `{"to":"me"}`, warren.PublishOpts{}).ID)
	other := env.Job(publishRaw(t, env.Client(), `{"to":"`+secretArgs+`"}`, warren.PublishOpts{}).ID)
	flipped := bytes.Replace(mine.Args, []byte(`v1.test.`), []byte(`v1.test.A`), 1)
	for what, args := range map[string]json.RawMessage{
		"changed": flipped, "of another job": other.Args, "in the clear": json.RawMessage(`{"to":"` + secretArgs + `"}`),
	} {
		p := publishRaw(t, env.Client(), `{}`, warren.PublishOpts{})
		change := jobstore.Resealed{ID: p.ID, Old: env.Job(p.ID).Args, New: args}
		if n, err := env.Store().Reseal(t.Context(), []jobstore.Resealed{change}); n != 1 || err != nil {
			t.Fatalf("%d changed, %v", n, err)
		}
		env.Drain()
		job := env.Job(p.ID)
		if job.State != jobstore.PermanentlyFailed || strings.Contains(job.Error, secretArgs) || job.Error == "" {
			t.Errorf("%s: %s, %s", what, job.State, job.Error)
		}
	}
	if runs != 2 {
		t.Errorf("%d jobs ran, want the 2 that nobody touched", runs)
	}
}

// A job whose key is missing here waits without losing an attempt, and runs when the key is there.
func TestUnknownKeyWaits(t *testing.T) {
	t.Parallel()
	keys := keyText(t, "old", "new")
	r := quiet(warren.KindOpts{Encrypted: true})
	env := warrentest.New(t, r, warrentest.Opts{Keys: ringOf(t, keys[1])})
	publisher, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), Registry: r, Keys: ringOf(t, keys[0])})
	if err != nil {
		t.Fatal(err)
	}
	id := publishRaw(t, publisher, `{}`, warren.PublishOpts{}).ID
	env.Drain()
	job := env.Job(id)
	if job.State != jobstore.Waiting || job.Attempts != 0 || !strings.Contains(job.Error, `unknown key "old"; configured are new`) {
		t.Fatalf("without its key the job is %s after %d attempts: %s", job.State, job.Attempts, job.Error)
	}
	both, err := warren.NewConsumer(warren.ConsumerConfig{Store: env.Store(), Registry: r, Keys: ringOf(t, keys[1], keys[0]), UntilEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	env.Advance(2 * time.Minute)
	if err := both.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job := env.Job(id); job.State != jobstore.Finished {
		t.Errorf("with its key the job is %s: %s", job.State, job.Error)
	}
}

// A change-over accepts what was published before; without it that is refused.
func TestAcceptPlain(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet(warren.KindOpts{Encrypted: true, AcceptPlain: true}))
	before, err := warren.NewClient(warren.ClientConfig{Store: env.Store()})
	if err != nil {
		t.Fatal(err)
	}
	id := publishRaw(t, before, `{}`, warren.PublishOpts{}).ID
	env.Drain()
	if job := env.Job(id); job.State != jobstore.Finished {
		t.Errorf("a job from before is %s: %s", job.State, job.Error)
	}
}

// rotating is a store, and how it is opened for a test of rotation.
func rotating(t *testing.T, test func(t *testing.T, store interface {
	warren.ConsumerStore
	jobstore.Resealer
	jobstore.Reader
},
),
) {
	t.Helper()
	t.Run("postgres", func(t *testing.T) { t.Parallel(); test(t, newStore(t)) })
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		store, err := sqlite.Open(t.Context(), sqlite.Memory, sqlite.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		if err := store.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		test(t, store)
	})
}

// failing breaks off after a number of batches.
type failing struct {
	jobstore.Resealer
	left int
}

var errBrokenOff = errors.New("broken off")

func (f *failing) Reseal(ctx context.Context, changes []jobstore.Resealed) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errBrokenOff
	}
	return f.Resealer.Reseal(ctx, changes)
}

// All args are encrypted anew in batches, whatever their state; broken off it goes on; then the old key may go.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	rotating(t, func(t *testing.T, store interface {
		warren.ConsumerStore
		jobstore.Resealer
		jobstore.Reader
	},
	) {
		t.Helper()
		keys := keyText(t, "old", "new", "lost")
		r := quiet(warren.KindOpts{Encrypted: true})
		client := func(names ...string) *warren.Client {
			c, err := warren.NewClient(warren.ClientConfig{Store: store, Registry: r, Keys: ringOf(t, names...)})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		const jobs = 2500
		items := make([]warren.Item, jobs)
		for i := range items {
			items[i] = warren.Item{Kind: "letter", Args: map[string]int{"n": i}, Opts: warren.PublishOpts{Delay: time.Hour}}
		}
		if _, err := client(keys[0]).PublishMany(t.Context(), items); err != nil {
			t.Fatal(err)
		}
		lost := publishRaw(t, client(keys[2]), `{}`, warren.PublishOpts{}).ID
		c := client(keys[1], keys[0])
		publishRaw(t, c, `{}`, warren.PublishOpts{Delay: time.Hour})

		count, err := c.RotateKeys(t.Context(), store, true)
		if err != nil || count.Changed != jobs || count.Current != 1 || count.Keys["old"] != jobs || len(count.Failed) != 1 || count.Failed[0] != lost {
			t.Fatalf("dry run: %+v (%v)", count, err)
		}
		part, err := c.RotateKeys(t.Context(), &failing{Resealer: store, left: 1}, false)
		if !errors.Is(err, errBrokenOff) || part.Changed == 0 || part.Changed >= jobs {
			t.Fatalf("broken off: %+v (%v)", part, err)
		}
		rest, err := c.RotateKeys(t.Context(), store, false)
		if err != nil || part.Changed+rest.Changed != jobs || len(rest.Failed) != 1 {
			t.Fatalf("the rest: %+v (%v), after %d", rest, err, part.Changed)
		}
		done, err := c.RotateKeys(t.Context(), store, false)
		if err != nil || done.Changed != 0 || done.Current != jobs+1 {
			t.Fatalf("once more: %+v (%v)", done, err)
		}
		list, err := store.List(t.Context(), jobstore.Filter{Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			if args, err := ringOf(t, keys[1]).OpenArgs(&list[i]); err != nil || string(args) != fmt.Sprintf(`{"n":%d}`, i) {
				t.Errorf("with the new key alone job %d has args %s (%v)", list[i].ID, args, err)
			}
		}
	})
}

// Without keys nothing is published in the clear, and no consumer starts that could not read.
func TestEncryptionNeedsKeys(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	r := quiet(warren.KindOpts{Encrypted: true})
	c, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), Registry: r})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.PublishRaw(t.Context(), "letter", json.RawMessage(`{}`))
	if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), "there are no keys") {
		t.Errorf("publish: %v", err)
	}
	_, err = warren.NewConsumer(warren.ConsumerConfig{Store: env.Store(), Registry: r})
	if err == nil || !strings.Contains(err.Error(), "kind letter is encrypted, and there are no keys") {
		t.Errorf("consumer: %v", err)
	}
	if _, err := c.RotateKeys(t.Context(), env.Store(), false); err == nil {
		t.Error("keys were rotated without keys")
	}
	_, err = env.Client().PublishRaw(t.Context(), "letter", json.RawMessage(`{"warren_sealed": 1}`))
	if !errors.Is(err, warren.ErrInvalidJob) {
		t.Errorf("args that look encrypted: %v", err)
	}
	_, err = warren.NewClient(warren.ClientConfig{Store: env.Store(), Registry: quiet(warren.KindOpts{AcceptPlain: true})})
	if err == nil || !strings.Contains(err.Error(), "accept-plain needs encrypted") {
		t.Errorf("accept-plain alone: %v", err)
	}
	warrentest.RequireNothingPublished(t, env)
}

// A schedule would keep args beyond the life of their key.
func TestNoScheduleOfAnEncryptedKind(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet(warren.KindOpts{Encrypted: true}))
	_, err := env.Client().Schedules(env.Store()).Add(t.Context(), warren.Schedule{Name: "nightly", When: warren.Cron("0 3 * * *"), Kind: "letter"})
	if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), "kind letter is encrypted") {
		t.Errorf("schedule: %v", err)
	}
}

package warren_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/warrentest"
)

// quiet has a handler for letters that does nothing.
func quiet(opts ...warren.KindOpts) *warren.Registry {
	var r warren.Registry
	r.Raw("letter", func(context.Context, *jobstore.Job) error { return nil }, opts...)
	return &r
}

func publishRaw(t *testing.T, c *warren.Client, args string, o warren.PublishOpts) warren.Published {
	t.Helper()
	p, err := c.PublishRaw(t.Context(), "letter", json.RawMessage(args), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Jobs are the same when the chosen fields of their args are, however they are written.
func TestUniqueByFieldsOfArgs(t *testing.T) {
	t.Parallel()
	c := warrentest.New(t, quiet()).Client()
	by := warren.PublishOpts{UniqueBy: []string{"to", "what"}}
	first := publishRaw(t, c, `{"to": {"a": 1, "b": 2}, "what": 1.50, "at": 1}`, by)
	if first.Duplicate() || first.State != jobstore.Ready {
		t.Fatalf("the first is %+v", first)
	}
	for args, same := range map[string]bool{
		`{"at":2,"what":1.50,"to":{"b":2,"a":1}}`: true,
		`{"to": {"a": 1, "b": 2}, "what": 1.5}`:   false, // numbers are compared as they are written
		`{"to": {"a": 1, "b": 3}, "what": 1.50}`:  false,
		`{"to": null, "what": 1.50}`:              false,
	} {
		p := publishRaw(t, c, args, by)
		if p.Duplicate() != same || same && (p.Existing != first.ID || p.State != jobstore.Redundant) {
			t.Errorf("%s is %+v", args, p)
		}
	}
	whole := warren.PublishOpts{UniqueBy: []string{warren.AllArgs}}
	one := publishRaw(t, c, `[1, {"x": 2}]`, whole)
	if again := publishRaw(t, c, `[1,{"x":2}]`, whole); again.Existing != one.ID {
		t.Errorf("the same args are %+v", again)
	}
}

// A kind may say that its jobs are unique; a job may say that it is not.
func TestAKindOfUniqueJobs(t *testing.T) {
	t.Parallel()
	c := warrentest.New(t, quiet(warren.KindOpts{UniqueBy: []string{"to"}, UniqueFor: time.Hour})).Client()
	first := publishRaw(t, c, `{"to": 1}`, warren.PublishOpts{})
	if p := publishRaw(t, c, `{"to": 1}`, warren.PublishOpts{}); p.Existing != first.ID {
		t.Errorf("the second is %+v", p)
	}
	if p := publishRaw(t, c, `{"to": 1}`, warren.PublishOpts{Mode: jobstore.Normal}); p.Duplicate() {
		t.Errorf("a normal one is %+v", p)
	}
	named := publishRaw(t, c, `{}`, warren.PublishOpts{Identifier: "x"})
	if p := publishRaw(t, c, `{}`, warren.PublishOpts{Identifier: "x"}); p.Existing != named.ID {
		t.Errorf("the second of one identifier is %+v", p)
	}
}

// One that runs does not count for a key that is kept until the start.
func TestUniqueUntilStart(t *testing.T) {
	t.Parallel()
	var env *warrentest.Env
	var inside, again warren.Published
	var r warren.Registry
	o := warren.PublishOpts{Mode: jobstore.Unique, Identifier: "x", UniqueFor: warren.UntilStart}
	r.Raw("letter", func(ctx context.Context, job *jobstore.Job) (err error) {
		if job.ID > 1 {
			return nil
		}
		if inside, err = env.Client().PublishRaw(ctx, "letter", nil, o); err != nil {
			return err
		}
		again, err = env.Client().PublishRaw(ctx, "letter", nil, o)
		return err
	})
	env = warrentest.New(t, &r)
	if p := publishRaw(t, env.Client(), `{}`, o); p.Duplicate() {
		t.Fatalf("the first is %+v", p)
	}
	if ran := env.Drain(); len(ran) != 2 || inside.Duplicate() || again.Existing != inside.ID {
		t.Errorf("%d ran; published while the first ran: %+v, then %+v", len(ran), inside, again)
	}
}

// Sixteen publishers put one job off; it runs once, with the last args.
func TestDebounceUnderARace(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var runs atomic.Int32
		r := handle(func(context.Context, *warren.Job[mail]) error { runs.Add(1); return nil })
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		o := warren.PublishOpts{Identifier: "x", Debounce: 2 * time.Second}
		var wg sync.WaitGroup
		ids := make([]warren.Published, 16)
		for i := range ids {
			wg.Go(func() {
				var err error
				if ids[i], err = c.Client().Publish(t.Context(), mail{}, o); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		last := publish(t, c.Client(), "last", o)
		job := awaitState(t, store, last, jobstore.Finished)
		for _, p := range ids {
			if p.ID != last {
				t.Errorf("a publish made job %d, the last one job %d", p.ID, last)
			}
		}
		if runs.Load() != 1 || !strings.Contains(string(job.Args), "last") {
			t.Errorf("%d runs, with %s", runs.Load(), job.Args)
		}
	})
}

// The time begins anew with each publish, up to the longest wait.
func TestDebounceMovesTheTime(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	o := warren.PublishOpts{UniqueBy: []string{"to"}, Debounce: time.Minute, MaxWait: 150 * time.Second}
	first := publishRaw(t, env.Client(), `{"to": 1, "n": 1}`, o)
	for n := range 2 {
		env.Advance(50 * time.Second)
		if ran := env.Drain(); len(ran) != 0 {
			t.Fatalf("publish %d: %v ran", n, ran)
		}
		if p := publishRaw(t, env.Client(), `{"to": 1, "n": 9}`, o); !p.Duplicate() || p.ID != first.ID || p.State != jobstore.Scheduled {
			t.Fatalf("publish %d is %+v", n, p)
		}
	}
	env.Advance(49 * time.Second)
	if ran := env.Drain(); len(ran) != 0 {
		t.Fatalf("before the longest wait %v ran", ran)
	}
	env.Advance(time.Second)
	if ran := env.Drain(); len(ran) != 1 || !strings.Contains(string(ran[0].Job.Args), "9") {
		t.Fatalf("after the longest wait %v ran", ran)
	}
	if p := publishRaw(t, env.Client(), `{"to": 1}`, o); p.Duplicate() {
		t.Errorf("after it ran, the next is %+v", p)
	}
}

// A kind may have a delay; a job goes past it with a time of its own, or with Now.
func TestDelayOfAKind(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet(warren.KindOpts{Delay: time.Hour}))
	for want, o := range map[time.Duration]warren.PublishOpts{
		time.Hour: {}, 0: {Now: true}, time.Minute: {Delay: time.Minute}, time.Second: {At: env.Now().Add(time.Second)},
	} {
		job := env.Job(publishRaw(t, env.Client(), `{}`, o).ID)
		if got := job.AvailableAt.Sub(env.Now()); got.Round(time.Millisecond) != want {
			t.Errorf("%+v is due in %s, want %s", o, got, want)
		}
	}
}

// What cannot be meant is refused with a word about the remedy, and nothing is published.
func TestBadKeys(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	long := strings.Repeat("k", 10<<10)
	unique := func(o warren.PublishOpts) warren.PublishOpts {
		o.Mode, o.Identifier = jobstore.Unique, "x"
		return o
	}
	for want, o := range map[string]warren.PublishOpts{
		"at most 255 are allowed":                 {Mode: jobstore.Unique, Identifier: long},
		"no field":                                {UniqueBy: []string{long}},
		"both an identifier":                      {Identifier: "x", UniqueBy: []string{"to"}},
		"unique-by needs mode unique":             {Mode: jobstore.Recurring, Every: time.Hour, UniqueBy: []string{"to"}},
		"unique-for -5s is negative":              unique(warren.PublishOpts{UniqueFor: -5 * time.Second}),
		"replace needs mode unique":               {Replace: warren.ReplaceAll},
		"unknown bits":                            unique(warren.PublishOpts{Replace: 64}),
		"debounce 1s needs an identifier":         {Debounce: time.Second},
		"debounce -1s is negative":                {Identifier: "x", Debounce: -time.Second},
		"is a delay itself":                       {Identifier: "x", Debounce: time.Second, Delay: time.Second},
		"does not go with mode recurring":         {Identifier: "x", Debounce: time.Second, Mode: jobstore.Recurring, Every: time.Hour},
		"keeps the key until the start":           {Identifier: "x", Debounce: time.Second, UniqueFor: time.Hour},
		"max wait 1s is shorter than debounce 2s": {Identifier: "x", Debounce: 2 * time.Second, MaxWait: time.Second},
		"max wait -1s is negative":                unique(warren.PublishOpts{Replace: warren.ReplaceTime, MaxWait: -time.Second}),
		"max wait 1s needs debounce":              unique(warren.PublishOpts{MaxWait: time.Second}),
		"both now and a later time":               {Now: true, Delay: time.Second},
	} {
		_, err := env.Client().PublishRaw(t.Context(), "letter", json.RawMessage(`{"to": 1}`), o)
		if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%+.100v: error %v, want %q", o, err, want)
		}
	}
	if _, err := env.Client().PublishRaw(t.Context(), "letter", json.RawMessage(`[1]`), warren.PublishOpts{UniqueBy: []string{"to"}}); err == nil {
		t.Error("a field of an array was found")
	}
	warrentest.RequireNothingPublished(t, env)
	for want, o := range map[string]warren.KindOpts{
		"delay -1s is negative":       {Delay: -time.Second},
		"unique-for -5ns is negative": {UniqueBy: []string{"x"}, UniqueFor: -5},
		"needs unique-by":             {UniqueFor: time.Hour},
	} {
		_, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), Registry: quiet(o)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("kind %+v: error %v, want %q", o, err, want)
		}
	}
}

// events keeps what an observer is told.
type events struct {
	mu   sync.Mutex
	list []warren.Event
}

func (e *events) Observe(_ context.Context, event warren.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	job := *event.Job
	event.Job = &job
	e.list = append(e.list, event)
}

// An observer hears of publishes that made no job that runs.
func TestDuplicatesAreTold(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	var seen events
	c, err := warren.NewClient(warren.ClientConfig{Store: env.Store(), Observer: &seen})
	if err != nil {
		t.Fatal(err)
	}
	o := warren.PublishOpts{Mode: jobstore.Unique, Identifier: "x", Delay: time.Hour}
	first := publishRaw(t, c, `{}`, o)
	second := publishRaw(t, c, `{}`, o)
	o.Replace = warren.ReplaceArgs
	publishRaw(t, c, `{"n": 1}`, o)
	want := []warren.Event{
		{Kind: warren.JobPublished, Job: &jobstore.Job{ID: first.ID, State: jobstore.Scheduled}},
		{Kind: warren.JobPublished, Job: &jobstore.Job{ID: second.ID, State: jobstore.Redundant}},
		{Kind: warren.JobDuplicate, Job: &jobstore.Job{ID: second.ID, State: jobstore.Redundant}, Existing: first.ID},
		{Kind: warren.JobDuplicate, Job: &jobstore.Job{ID: first.ID, State: jobstore.Scheduled}, Existing: first.ID},
	}
	if len(seen.list) != len(want) {
		t.Fatalf("%d events, want %d: %+v", len(seen.list), len(want), seen.list)
	}
	for i, w := range want {
		got := seen.list[i]
		if got.Kind != w.Kind || got.Job.ID != w.Job.ID || got.Job.State != w.Job.State || got.Existing != w.Existing {
			t.Errorf("event %d is %s of %+v, want %s of %+v", i, got.Kind, got.Job, w.Kind, w.Job)
		}
	}
}

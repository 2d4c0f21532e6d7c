package warren_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
	"github.com/warrenq/warren/warrentest"
)

// part is a job of a flow that has a name and an end.
type part struct {
	Name string `json:"name"`
	Fail bool   `json:"fail,omitempty"`
}

func (part) Kind() string { return "part" }

// flowLog keeps the names of what ran, in order.
type flowLog struct {
	mu    sync.Mutex
	names []string
}

func (l *flowLog) add(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.names = append(l.names, name)
}

func (l *flowLog) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.names, " ")
}

// parts is an installation whose parts are handled by more, after they were noted.
func parts(t *testing.T, more func(ctx context.Context, job *warren.Job[part]) error) (*warrentest.Env, *flowLog) {
	t.Helper()
	var ran flowLog
	var r warren.Registry
	warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[part]) error {
		ran.add(job.Args.Name)
		if job.Args.Fail {
			return warren.Permanent(errors.New("told to fail"))
		}
		if more != nil {
			return more(ctx, job)
		}
		return nil
	})
	return warrentest.New(t, &r), &ran
}

func startFlow(t *testing.T, env *warrentest.Env, f warren.Flow) jobstore.StepID {
	t.Helper()
	id, err := env.Client().PublishFlow(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func p(name string) part { return part{Name: name} }

func TestChain(t *testing.T) {
	t.Parallel()
	env, ran := parts(t, nil)
	id := startFlow(t, env, warren.Chain(p("a"), warren.Item{Args: p("b"), Opts: warren.PublishOpts{Tags: []string{"t"}}},
		warren.Batch("two", p("x")).AddChain(p("p"), p("q")), warren.Chain(p("c"), p("d"))).Meta("order", 7))
	env.Drain()
	if got := ran.all(); got != "a b x p q c d" {
		t.Errorf("ran %q", got)
	}
	f, err := env.Client().FlowInfo(t.Context(), id)
	if err != nil || f.State != jobstore.StepFinished || string(f.Metadata) != `{"order":7}` {
		t.Errorf("flow %+v, %v", f, err)
	}
}

// A queue is for what names none of its own, down to the jobs of flows in the flow.
func TestFlowQueues(t *testing.T) {
	t.Parallel()
	env, _ := parts(t, nil)
	startFlow(t, env, warren.Batch("b", p("slow"), warren.Item{Args: p("media"), Opts: warren.PublishOpts{Queue: "media"}},
		warren.Chain(p("slow")), warren.Chain(p("inner")).Queue("inner")).Queue("slow"))
	for _, j := range warrentest.Published[part](t, env) {
		if j.Queue != j.Args.Name {
			t.Errorf("%s is in queue %s", j.Args.Name, j.Queue)
		}
	}
}

func TestChainFails(t *testing.T) {
	t.Parallel()
	env, ran := parts(t, nil)
	id := startFlow(t, env, warren.Chain(p("a"), part{"b", true}, p("c")).OnFailure(p("sorry")))
	env.Drain()
	if got := ran.all(); got != "a b sorry" {
		t.Errorf("ran %q", got)
	}
	f, err := env.Client().FlowInfo(t.Context(), id)
	if err != nil || f.State != jobstore.StepFailed {
		t.Errorf("flow %+v, %v", f, err)
	}
	n, err := env.Client().RetryFlow(t.Context(), env.Store(), id)
	if err != nil || n != 1 {
		t.Errorf("retried %d, %v", n, err)
	}
	env.Drain()
	if got := ran.all(); got != "a b sorry b" { // it fails again, and once is told
		t.Errorf("after the retry ran %q", got)
	}
}

func TestBatch(t *testing.T) {
	t.Parallel()
	env, ran := parts(t, func(ctx context.Context, job *warren.Job[part]) error {
		switch job.Args.Name {
		case "a":
			return job.Batch().Add(ctx, p("more"))
		case "after":
			info, err := job.Batch().Info(ctx)
			if err != nil || info.Total != 3 || info.Processed() != 3 || info.Progress() != 100 || info.Pending() != 0 {
				t.Errorf("the callback sees %+v, %v", info, err)
			}
			if err := job.Batch().Add(ctx, p("late")); err == nil {
				t.Error("a callback adds to its batch")
			}
		}
		return nil
	})
	id := startFlow(t, env, warren.Batch("import", p("a"), part{"b", true}).AllowFailures(1).OnStart(p("before")).OnProgress(p("%")).
		OnFirstFailure(p("first")).OnEachFailure(p("each")).OnSuccess(p("then")).OnFinish(p("after")))
	env.Drain()
	names := strings.Fields(ran.all())
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "% % % a after b before each first more then" {
		t.Errorf("ran %q", got)
	}
	info, err := env.Client().Batch(t.Context(), id)
	if err != nil || info.State != jobstore.StepFinished || info.Failed != 1 || info.Done != 2 {
		t.Errorf("batch %+v, %v", info, err)
	}
	text, err := json.Marshal(info)
	for _, want := range []string{`"progress":100`, `"pending":0`, `"processed":3`, `"total":3`, `"failed":1`, `"name":"import"`} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s has no %s (%v)", text, want, err)
		}
	}
	if _, err := env.Client().Batch(t.Context(), id+1); !errors.Is(err, jobstore.ErrNotFound) {
		t.Errorf("a callback's step is a batch: %v", err)
	}
}

func TestChainGrows(t *testing.T) {
	t.Parallel()
	env, ran := parts(t, func(ctx context.Context, job *warren.Job[part]) error {
		if job.Args.Name != "a" {
			return nil
		}
		return errors.Join(job.Flow().Prepend(ctx, p("b2")), job.Flow().Prepend(ctx, p("b1")), job.Flow().Append(ctx, p("d1"), p("d2")))
	})
	startFlow(t, env, warren.Chain(p("a"), p("c")))
	env.Drain()
	if got := ran.all(); got != "a b1 b2 c d1 d2" {
		t.Errorf("ran %q", got)
	}
}

// A job of no flow says so, and adds nothing.
func TestNoFlow(t *testing.T) {
	t.Parallel()
	env, _ := parts(t, func(ctx context.Context, job *warren.Job[part]) error {
		if job.Batch().Add(ctx, p("x")) == nil || job.Flow().Append(ctx, p("x")) == nil {
			t.Error("a job of no flow adds to it")
		}
		if _, err := job.Batch().Info(ctx); err == nil {
			t.Error("a job of no flow has a batch")
		}
		return nil
	})
	if _, err := env.Client().Publish(t.Context(), p("alone")); err != nil {
		t.Fatal(err)
	}
	if got := env.Drain(); len(got) != 1 {
		t.Errorf("attempts %v", got)
	}
}

func TestBadFlows(t *testing.T) {
	t.Parallel()
	env, _ := parts(t, nil)
	itself := warren.Chain(p("a"))
	itself.OnFailure(p("x"))
	ring := warren.Batch("ring")
	ring.Add(warren.Chain(p("a"), ring))
	many := warren.Batch("many")
	for range warren.MaxFlowJobs + 1 {
		many.Add(p("m"))
	}
	waiting := warren.Batch("waiting")
	for range warren.MaxWaitingJobs + 1 {
		waiting.Add(p("m"))
	}
	for name, c := range map[string]struct {
		flow warren.Flow
		want string
	}{
		"empty chain":    {warren.Chain(), "chain: it has no steps"},
		"empty batch":    {warren.Batch("b"), `batch "b": it is empty`},
		"inner":          {warren.Chain(p("a"), warren.Batch("b")), `chain: step 2: batch "b": it is empty`},
		"no name":        {warren.Batch("", p("a")), "it has no name"},
		"a text":         {warren.Chain("a"), "chain: step 1: a string is no part of a flow"},
		"nothing":        {warren.Chain(nil), "step 1: a <nil> is no part"},
		"a cycle":        {ring, "is a part of itself"},
		"bad job":        {warren.Batch("b", warren.Item{Args: p("a"), Opts: warren.PublishOpts{Priority: new(7)}}), "priority 7 is not configured"},
		"bad delay":      {warren.Chain(warren.Item{Args: p("a"), Opts: warren.PublishOpts{Delay: -1}}), "is negative"},
		"bad callback":   {warren.Batch("b", p("a")).OnFinish(3), "callback on end: a int is no part"},
		"recurring":      {warren.Chain(warren.Item{Args: p("a"), Opts: warren.PublishOpts{Mode: jobstore.Recurring, Identifier: "i", Every: 1e9}}), "recurring job has no end"},
		"replaces":       {warren.Chain(warren.Item{Args: p("a"), Opts: warren.PublishOpts{Mode: jobstore.Unique, Identifier: "i", Replace: warren.ReplaceArgs}}), "cannot replace another"},
		"negative":       {warren.Batch("b", p("a")).AllowFailures(-1), "is negative"},
		"inner metadata": {warren.Chain(warren.Batch("b", p("a")).Meta("a", 1)), "outermost flow"},
		"long name":      {warren.Batch(strings.Repeat("n", 10_000), p("a")), "at most 255"},
		"metadata":       {warren.Batch("b", p("a")).Meta("a", strings.Repeat("x", 10_000)), "metadata"},
		"too many jobs":  {many, "more than 100000 jobs"},
		"too many wait":  {warren.Chain(p("a"), waiting), "has 1001 jobs and waits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := env.Client().PublishFlow(t.Context(), c.flow)
			if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("error %.300v, want %q", err, c.want)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		t.Parallel()
		startFlow(t, env, itself)
	})
}

// Through brokers and without: what a step's end releases is announced, and comes once.
func TestFlowThroughConsumers(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		var ran flowLog
		var r warren.Registry
		warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[part]) error {
			ran.add(job.Args.Name)
			if job.Args.Name == "fill" {
				return job.Batch().Add(ctx, p("m"), p("m"), p("m"))
			}
			return nil
		})
		client := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Concurrency: 3, Registry: &r}).Client()
		id, err := client.PublishFlow(t.Context(), warren.Chain(p("a"), warren.Batch("b", p("fill")).OnFinish(p("end")), p("z")))
		if err != nil {
			t.Fatal(err)
		}
		awaitFlow(t, store, id, jobstore.StepFinished)
		if got := ran.all(); !strings.HasPrefix(got, "a fill m m m ") || strings.Count(got, "z") != 1 {
			t.Errorf("ran %q", got)
		}
	})
}

func awaitFlow(t *testing.T, store jobstore.Flows, id jobstore.StepID, want jobstore.StepState) {
	t.Helper()
	await(t, fmt.Sprintf("flow %d to be %s", id, want), func() bool {
		f, err := store.Flow(t.Context(), id)
		return err == nil && f.State == want
	})
}

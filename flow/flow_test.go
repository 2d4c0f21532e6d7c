package flow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/flow"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

type fetch struct {
	File string `json:"file"`
}

func (fetch) Kind() string { return "fetch" }

type part struct {
	N int `json:"n"`
}

func (part) Kind() string { return "part" }

type report struct {
	Text string `json:"text"`
}

func (report) Kind() string { return "report" }

// handlers note what ran.
func handlers() (*warren.Registry, func() []string) {
	var r warren.Registry
	var mu sync.Mutex
	var ran []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		ran = append(ran, text)
	}
	warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[fetch]) error {
		note("fetch " + job.Args.File)
		return warren.SetOutput(ctx, []int{3, 1, 2})
	})
	warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[part]) error {
		note(fmt.Sprint("part ", job.Args.N))
		return warren.SetOutput(ctx, 10*job.Args.N)
	})
	warren.RegisterFunc(&r, func(ctx context.Context, job *warren.Job[report]) error {
		sums, err := warren.Outputs[int](ctx, "part")
		total := 0
		for _, n := range sums {
			total += n
		}
		note(fmt.Sprint("report ", job.Args.Text, " ", total))
		return err
	})
	return &r, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(ran)
	}
}

// process fetches a file, works on its parts, and reports what is large.
func process(version int) *flow.Definition {
	return flow.Define("process-data", version, func(b *flow.Builder) {
		first := b.From("fetch", func(_ context.Context, r *warren.FlowRun) (any, error) {
			var f fetch
			err := r.Args(&f)
			return f, err
		})
		parts := b.FanOut("part", func(ctx context.Context, r *warren.FlowRun) ([]any, error) {
			raw, err := r.Outputs(ctx, "fetch")
			if err != nil {
				return nil, err
			}
			var numbers []int
			if err := json.Unmarshal(raw[0], &numbers); err != nil {
				return nil, err
			}
			jobs := make([]any, len(numbers))
			for i, n := range numbers {
				jobs[i] = part{n}
			}
			return jobs, nil
		}).After(first)
		large := func(want bool) flow.Condition {
			return func(ctx context.Context, r *warren.FlowRun) (bool, string, error) {
				raw, err := r.Outputs(ctx, "part")
				return (len(raw) > 2) == want, fmt.Sprintf("%d parts", len(raw)), err
			}
		}
		b.Step("large", report{"large"}).After(parts).If(large(true))
		b.Step("small", report{"small"}).After(parts).If(large(false))
		b.Step("end", report{"end"}).AfterNamed("large", "small").Queue("reports")
	})
}

func TestDefinedFlow(t *testing.T) {
	t.Parallel()
	r, ran := handlers()
	def := process(3)
	flow.Register(r, def)
	warren.RegisterFunc(r, func(context.Context, *warren.Job[other]) error { return nil }, warren.KindOpts{Queue: "reports"})
	env := warrentest.New(t, r)
	id, err := env.Client().PublishFlow(t.Context(), def.Start(fetch{"a.csv"}))
	if err != nil {
		t.Fatal(err)
	}
	env.Drain()
	got := ran()
	slices.Sort(got[1:4])
	if want := "fetch a.csv, part 1, part 2, part 3, report large 60, report end 60"; strings.Join(got, ", ") != want {
		t.Errorf("ran %q, want %s", got, want)
	}
	f, err := env.Client().FlowInfo(t.Context(), id)
	if err != nil || f.State != jobstore.StepFinished || f.Version != 3 {
		t.Errorf("flow %+v, %v", f, err)
	}
	for _, s := range f.Steps {
		if (s.State == jobstore.StepSkipped) != (s.Name == "small") {
			t.Errorf("step %s is %s", s.Name, s.State)
		}
		if s.Name != "large?" {
			continue
		}
		jobs, err := env.Store().StepJobs(t.Context(), []jobstore.StepID{s.ID}, nil, 0, 10)
		if err != nil || len(jobs) != 1 || string(jobs[0].Output) != `{"go":["large"],"why":{"large":"3 parts"}}` {
			t.Errorf("the choice is not in the row: %+v, %v", jobs, err)
		}
	}
}

type other struct{}

func (other) Kind() string { return "other" }

// A version that nobody has waits, and a flow keeps the version that it was started with.
func TestVersions(t *testing.T) {
	t.Parallel()
	r, ran := handlers()
	env := warrentest.New(t, r)
	id, err := env.Client().PublishFlow(t.Context(), process(2).Start(fetch{"old.csv"}))
	if err != nil {
		t.Fatal(err)
	}
	if got := env.Drain(); len(got) != 0 {
		t.Errorf("ran %v without the definition", got)
	}
	jobs, err := env.Store().List(t.Context(), jobstore.Filter{Kinds: []string{"flow:process-data/2"}})
	if err != nil || len(jobs) != 1 || jobs[0].State != jobstore.Ready {
		t.Errorf("jobs %+v, %v", jobs, err)
	}
	if f, err := env.Client().FlowInfo(t.Context(), id); err != nil || f.State != jobstore.StepRunning || len(ran()) != 0 {
		t.Errorf("flow %+v, %v", f, err)
	}
}

// A fan-out of nothing has finished at once; a large one is filled in parts, and goes on after an attempt
// that was broken off.
func TestFanOutSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1203} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			attempts := 0
			def := flow.Define("sizes", 1, func(b *flow.Builder) {
				out := b.FanOut("part", func(context.Context, *warren.FlowRun) ([]any, error) {
					attempts++
					jobs := make([]any, n)
					for i := range jobs {
						jobs[i] = part{i}
					}
					if n > 1000 && attempts == 1 {
						jobs[1100] = "no job" // the first two parts are there by then
					}
					return jobs, nil
				})
				b.Step("end", other{}).After(out)
			})
			var r warren.Registry
			flow.Register(&r, def)
			warren.RegisterFunc(&r, func(context.Context, *warren.Job[other]) error { return nil })
			env := warrentest.New(t, &r)
			id, err := env.Client().PublishFlow(t.Context(), def.Start(nil))
			if err != nil {
				t.Fatal(err)
			}
			env.Drain()
			if n > 1000 {
				if got, err := env.Client().RetryFlow(t.Context(), env.Store(), id); err != nil || got != 1 {
					t.Fatalf("retried %d, %v", got, err)
				}
				env.Advance(1e9)
				env.Drain()
			}
			rows, err := env.Store().List(t.Context(), jobstore.Filter{Kinds: []string{"part"}, Limit: 10_000})
			if err != nil || len(rows) != n {
				t.Fatalf("%d parts, want %d (%v)", len(rows), n, err)
			}
			for i := range rows {
				if want := fmt.Sprintf(`{"n":%d}`, i); string(rows[i].Args) != want {
					t.Fatalf("part %d has args %s", i, rows[i].Args)
				}
			}
			if n == 0 {
				if f, err := env.Client().FlowInfo(t.Context(), id); err != nil || f.State != jobstore.StepFinished {
					t.Errorf("flow %+v, %v", f, err)
				}
			}
		})
	}
}

// A step that names another twice waits for it once.
func TestWaitsOnceForAStepThatIsNamedTwice(t *testing.T) {
	t.Parallel()
	r, ran := handlers()
	def := flow.Define("twice", 1, func(b *flow.Builder) {
		first := b.Step("part", part{1})
		b.Step("once", report{"once"}).After(first, first)
		b.Step("named", report{"named"}).After(first).AfterNamed("part")
		last := b.Step("sequence", report{"sequence"}).After(first).AfterNamed("named", "once")
		b.Sequence(first, last)
		b.Step("chosen", report{"chosen"}).After(last, last).If(func(context.Context, *warren.FlowRun) (bool, string, error) { return true, "always", nil })
	})
	flow.Register(r, def)
	env := warrentest.New(t, r)
	id, err := env.Client().PublishFlow(t.Context(), def.Start(nil))
	if err != nil {
		t.Fatal(err)
	}
	env.Drain()
	if got := strings.Join(ran(), ", "); got != "part 1, report once 10, report named 10, report sequence 10, report chosen 10" {
		t.Errorf("ran %q", got)
	}
	f, err := env.Client().FlowInfo(t.Context(), id)
	if err != nil || f.State != jobstore.StepFinished || f.Steps[0].Done != f.Steps[0].Total {
		t.Errorf("flow %+v, %v", f, err)
	}
}

func TestBadDefinitions(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, func() *warren.Registry { r, _ := handlers(); return r }())
	for name, c := range map[string]struct {
		build func(b *flow.Builder)
		want  string
	}{
		"nothing": {func(*flow.Builder) {}, "it has no steps"},
		"a cycle": {func(b *flow.Builder) {
			b.Step("a", other{}).AfterNamed("c")
			b.Step("b", other{}).AfterNamed("a")
			b.Step("c", other{}).AfterNamed("b")
		}, "a → b → c → a"},
		"itself":     {func(b *flow.Builder) { b.Step("a", other{}).AfterNamed("a") }, "a → a"},
		"unknown":    {func(b *flow.Builder) { b.Step("a", other{}).AfterNamed("b") }, `"a" waits for "b", which is none of its steps (a)`},
		"twice":      {func(b *flow.Builder) { b.Step("a", other{}); b.Step("a", other{}) }, `"a": there are two of this name`},
		"no name":    {func(b *flow.Builder) { b.Step("", other{}) }, "has no name"},
		"no job":     {func(b *flow.Builder) { b.Step("a", nil) }, "no part of a flow"},
		"inner":      {func(b *flow.Builder) { b.Step("a", warren.Batch("b")) }, `step "a": batch "b": it is empty`},
		"no version": {nil, "version of at least 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version, build := 1, c.build
			if build == nil {
				version, build = 0, func(b *flow.Builder) { b.Step("a", other{}) }
			}
			_, err := env.Client().PublishFlow(t.Context(), flow.Define("bad", version, build).Start(nil))
			if !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func ExampleDefinition_Mermaid() {
	fmt.Print(flow.Define("shop", 1, func(b *flow.Builder) {
		pay := b.Step("pay", other{})
		pack := b.FanOut("pack", nil).After(pay)
		b.Step("gift", other{}).After(pay).If(nil)
		b.Step("send", other{}).After(pack).AfterNamed("gift")
	}).Mermaid())
	// Output:
	// graph TD
	//   s0["pay"]
	//   s1["pack"]
	//   s2["gift"]
	//   s3["send"]
	//   s0 --> s1
	//   s0 --> s2
	//   s1 --> s3
	//   s2 --> s3
}

package flow_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/flow"
	"github.com/warrenq/warren/warrentest"
)

// thumbnails is a whole process in one place: what each step waits for, how many jobs it has, and whether it goes.
func thumbnails() *flow.Definition {
	return flow.Define("thumbnails", 1, func(b *flow.Builder) {
		fetched := b.Step("fetch", fetch{File: "a.zip"})
		parts := b.FanOut("part", func(ctx context.Context, _ *warren.FlowRun) ([]any, error) {
			pages, err := warren.Output[[]int](ctx, "fetch")
			var jobs []any
			for _, n := range pages {
				jobs = append(jobs, part{N: n})
			}
			return jobs, err
		}).After(fetched)
		b.Step("report", report{Text: "total"}).After(parts).If(func(ctx context.Context, _ *warren.FlowRun) (bool, string, error) {
			sums, err := warren.Outputs[int](ctx, "part")
			return len(sums) > 2, fmt.Sprint(len(sums), " parts"), err
		})
	})
}

// A defined flow is tested without a consumer and without a server.
func ExampleDefine() {
	t := &exampleT{} // a test has its own
	defer t.end()
	registry, ran := handlers()
	flow.Register(registry, thumbnails())
	env := warrentest.New(t, registry)
	if _, err := env.Client().PublishFlow(t.Context(), thumbnails().Start(nil)); err != nil {
		t.Fatal(err)
	}
	env.Drain()
	done := ran()
	slices.Sort(done)
	for _, job := range done {
		fmt.Println(job)
	}
	// Output:
	// fetch a.zip
	// part 1
	// part 2
	// part 3
	// report total 60
}

// exampleT stands for the *testing.T that a test has and an example has not.
type exampleT struct {
	testing.TB

	cleanups []func()
}

func (t *exampleT) Helper()                           {}
func (t *exampleT) Context() context.Context          { return context.Background() }
func (t *exampleT) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (t *exampleT) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// end is what the testing package does by itself.
func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

package warrentest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/warrentest"
)

func TestRequireFlow(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	warrentest.RequireNoFlow(t, env)
	chain := func(to string) warren.Flow {
		return warren.Chain(Mail{To: "a"}, warren.Batch("b", Mail{To: to}).OnFinish(Mail{To: "end"}))
	}
	if _, err := env.Client().PublishFlow(t.Context(), chain("x")); err != nil {
		t.Fatal(err)
	}
	warrentest.RequireFlow(t, env, chain("x"))
	if jobs := warrentest.RequireBatch(t, env, "b"); len(jobs) != 1 || !strings.Contains(string(jobs[0].Args), `"x"`) {
		t.Errorf("the batch has %v", jobs)
	}
	for name, c := range map[string]struct {
		fail func(tb testing.TB)
		want []string
	}{
		"another":   {func(tb testing.TB) { tb.Helper(); warrentest.RequireFlow(tb, env, chain("y")) }, []string{"no such flow", `"y"`, `"x"`, "on end: mail"}},
		"shorter":   {func(tb testing.TB) { tb.Helper(); warrentest.RequireFlow(tb, env, warren.Chain(Mail{To: "a"})) }, []string{"no such flow"}},
		"no batch":  {func(tb testing.TB) { tb.Helper(); warrentest.RequireBatch(tb, env, "c") }, []string{`no batch "c"`, `batch "b"`}},
		"something": {func(tb testing.TB) { tb.Helper(); warrentest.RequireNoFlow(tb, env) }, []string{"no flow should"}},
		"bad":       {func(tb testing.TB) { tb.Helper(); warrentest.RequireFlow(tb, env, warren.Chain()) }, []string{"it has no steps"}},
	} {
		failed := record(t, c.fail)
		for _, want := range c.want {
			if !strings.Contains(failed, want) {
				t.Errorf("%s: %q has no %q", name, failed, want)
			}
		}
	}
}

func TestPerformInAFlow(t *testing.T) {
	t.Parallel()
	a := warrentest.PerformFunc(t, func(ctx context.Context, job *warren.Job[Mail]) error {
		return job.Batch().Add(ctx, Mail{To: "b"}, Mail{To: "c"})
	}, Mail{To: "a"}, warrentest.PerformOpts{Batch: true})
	a.RequireFinished(t)
	if len(a.Flow.Add) != 2 {
		t.Errorf("added %+v", a.Flow)
	}
	a = warrentest.PerformFunc(t, func(ctx context.Context, job *warren.Job[Mail]) error {
		return job.Flow().Prepend(ctx, Mail{To: "b"})
	}, Mail{To: "a"}, warrentest.PerformOpts{Chain: true})
	a.RequireFinished(t)
	if len(a.Flow.Prepend) != 1 {
		t.Errorf("added %+v", a.Flow)
	}
}

func TestInlineFlow(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered), warrentest.Opts{Inline: true})
	if _, err := env.Client().PublishFlow(t.Context(), warren.Chain(Mail{To: "a"}, Mail{To: "b"})); err != nil {
		t.Fatal(err)
	}
	if ran := env.Ran(); len(ran) != 2 {
		t.Errorf("ran %v", ran)
	}
}

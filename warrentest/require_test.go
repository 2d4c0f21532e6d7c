package warrentest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

func to(name string) func(*warren.Job[Mail]) bool {
	return func(job *warren.Job[Mail]) bool { return job.Args.To == name }
}

// Each function passes when it should.
func TestRequirePasses(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	warrentest.RequireNothingPublished(t, env)
	warrentest.RequireNotPublished[Mail](t, env)
	first := publish(t, env, Mail{To: "ada"}, warren.PublishOpts{Queue: "media", Priority: new(20), Delay: time.Hour})
	publish(t, env, Mail{To: "bob"})
	env.Drain()
	job := warrentest.RequirePublished(t, env, to("ada"), func(job *warren.Job[Mail]) bool {
		return job.Queue == "media" && job.Priority == 20 && job.AvailableAt.Sub(job.CreatedAt) == time.Hour
	})
	if job.ID != first || job.Args.To != "ada" || job.State != jobstore.Scheduled {
		t.Errorf("job %d to %q is %s, want job %d to ada, SCHEDULED", job.ID, job.Args.To, job.State, first)
	}
	if job := warrentest.RequirePublished[Mail](t, env.Store()); job.ID != first {
		t.Errorf("job %d is the first, want %d", job.ID, first)
	}
	warrentest.RequireNotPublished(t, env, to("carol"))
	warrentest.RequireNotPublished[Invoice](t, env)
	if n := len(warrentest.Published[Mail](t, env)); n != 2 {
		t.Errorf("%d jobs, want 2", n)
	}
}

// Each function fails when it should, and says what was published.
func TestRequireFails(t *testing.T) {
	t.Parallel()
	full := warrentest.New(t, mailer(delivered))
	publish(t, full, Mail{To: "ada"}, warren.PublishOpts{Queue: "media", Priority: new(20), Delay: time.Hour})
	publish(t, full, Mail{To: "bob"})
	const ada = `job 1: kind mail, queue media, priority 20, SCHEDULED, args {"to":"ada"}, due 1h0m0s after its publishing`
	const bob = `job 2: kind mail, queue default, priority 10, READY, args {"to":"bob"}`
	for _, c := range []struct {
		name string
		fail func(tb testing.TB)
		want []string
		not  string
	}{
		{"published, nothing there", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequirePublished[Mail](tb, warrentest.New(tb, mailer(delivered)))
		}, []string{"no job of kind mail was published; nothing was published at all"}, "job 1"},
		{"published, others there", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequirePublished(tb, full, to("carol"))
		}, []string{"no job of kind mail that matches was published; published:", ada, bob}, ""},
		{"published, another kind", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequirePublished[Invoice](tb, full)
		}, []string{"no job of kind invoice was published", ada, bob}, ""},
		{"published, only one match holds", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequirePublished(tb, full, to("ada"), func(job *warren.Job[Mail]) bool { return job.Priority == 10 })
		}, []string{"no job of kind mail that matches was published", ada, bob}, ""},
		{"not published", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequireNotPublished(tb, full, to("bob"))
		}, []string{"a job of kind mail was published that should not be", bob}, ada},
		{"nothing published", func(tb testing.TB) {
			tb.Helper()
			warrentest.RequireNothingPublished(tb, full)
		}, []string{"nothing should be published", ada, bob}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			failed := record(t, c.fail)
			for _, want := range c.want {
				if !strings.Contains(failed, want) {
					t.Errorf("failure %q, want %q", failed, want)
				}
			}
			if c.not != "" && strings.Contains(failed, c.not) {
				t.Errorf("failure %q, want none about %q", failed, c.not)
			}
		})
	}
}

// Args that are not of the type are a mistake to be told, not a job to be left out.
func TestPublishedRefusesOtherArgs(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	if _, err := env.Client().PublishRaw(t.Context(), "mail", map[string]int{"to": 5}); err != nil {
		t.Fatal(err)
	}
	failed := record(t, func(tb testing.TB) {
		tb.Helper()
		warrentest.RequireNotPublished[Mail](tb, env)
	})
	if want := "args of job 1 of kind mail are no warrentest_test.Mail"; !strings.Contains(failed, want) {
		t.Errorf("failure %q, want %q", failed, want)
	}
}

// More rows than a page are all seen, and a message lists some of them.
func TestRequireManyJobs(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(delivered))
	items := make([]warren.Item, 501)
	for i := range items {
		items[i] = warren.Item{Args: Mail{To: "all"}}
	}
	if _, err := env.Client().PublishMany(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	last := publish(t, env, Mail{To: "last"})
	if job := warrentest.RequirePublished(t, env, to("last")); job.ID != last {
		t.Errorf("job %d, want %d", job.ID, last)
	}
	failed := record(t, func(tb testing.TB) {
		tb.Helper()
		warrentest.RequireNothingPublished(tb, env)
	})
	if !strings.Contains(failed, "\n\tjob 20:") || strings.Contains(failed, "\n\tjob 21:") || !strings.HasSuffix(failed, "\n\tand 482 more") {
		t.Errorf("failure %q", failed)
	}
}

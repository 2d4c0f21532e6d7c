package warrentest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

var inline = warrentest.Opts{Inline: true} //nolint:gochecknoglobals // read only

// A publish returns after the attempt, whatever came of it.
func TestInlineRunsAtOnce(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, mailer(func(_ context.Context, job *warren.Job[Mail]) error {
		if job.Args.To == "" {
			return warren.Permanent(errors.New("to whom?"))
		}
		return nil
	}), inline)
	if job := env.Job(publish(t, env, Mail{To: "ada"})); job.State != jobstore.Finished {
		t.Errorf("the job is %s after its publish", job.State)
	}
	if job := env.Job(publish(t, env, Mail{})); job.State != jobstore.PermanentlyFailed {
		t.Errorf("the bad job is %s after its publish", job.State)
	}
	if got := env.Drain(); len(got) != 0 {
		t.Errorf("there was more to run: %v", got)
	}
}

// Jobs of a transaction run when it has committed; those of one that was rolled back never do.
func TestInlineTransactions(t *testing.T) {
	t.Parallel()
	var ran []string
	env := warrentest.New(t, mailer(func(_ context.Context, job *warren.Job[Mail]) error {
		ran = append(ran, job.Args.To)
		return nil
	}), inline)
	no := errors.New("no")
	for name, end := range map[string]error{"committed": nil, "rolled back": no} {
		err := env.Client().InTx(t.Context(), func(ctx context.Context, tx *warren.Tx) error {
			if _, err := tx.Publish(ctx, Mail{To: name}); err != nil {
				return err
			}
			if len(ran) > 0 && ran[0] == name {
				t.Error("it ran before the commit")
			}
			return end
		})
		if !errors.Is(err, end) {
			t.Fatal(err)
		}
	}
	if len(ran) != 1 || ran[0] != "committed" {
		t.Errorf("%v ran", ran)
	}
}

// Inside a handler a new job runs before the handler goes on, except within one serial group.
func TestInlineInsideAHandler(t *testing.T) {
	t.Parallel()
	var order []string
	var env *warrentest.Env
	env = warrentest.New(t, mailer(func(ctx context.Context, job *warren.Job[Mail]) error {
		order = append(order, "begin "+job.Args.To)
		defer func() { order = append(order, "end "+job.Args.To) }()
		if job.Args.To != "outer" {
			return nil
		}
		if _, err := env.Client().Publish(ctx, Mail{To: "member"}, warren.PublishOpts{SerialGroup: "g"}); err != nil {
			return err
		}
		_, err := env.Client().Publish(ctx, Mail{To: "inner"})
		return err
	}), inline)
	publish(t, env, Mail{To: "outer"}, warren.PublishOpts{SerialGroup: "g"})
	const want = "begin outer, begin inner, end inner, end outer, begin member, end member"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}

// Each of many publishers finds its own job done, whoever ran it. In the bubble a handler takes its
// time until every publisher waits.
func TestInlineConcurrentPublishers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := warrentest.New(t, mailer(func(context.Context, *warren.Job[Mail]) error {
			<-time.After(10 * time.Millisecond)
			return nil
		}), inline)
		var publishers sync.WaitGroup
		for range 4 {
			publishers.Go(func() {
				for range 3 {
					var id jobstore.ID
					err := env.Client().InTx(t.Context(), func(ctx context.Context, tx *warren.Tx) error {
						p, err := tx.Publish(ctx, Mail{})
						id = p.ID
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
					job, err := env.Store().Get(t.Context(), id)
					if err != nil || job.State != jobstore.Finished {
						t.Errorf("job %d is %s after its publish (%v)", id, job.State, err)
					}
				}
			})
		}
		publishers.Wait()
	})
}

// A handler that hangs is an error of the publish.
func TestInlineNamesWhatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := warrentest.New(t, mailer(func(ctx context.Context, _ *warren.Job[Mail]) error {
			<-ctx.Done()
			return ctx.Err()
		}), inline)
		_, err := env.Client().Publish(t.Context(), Mail{})
		if err == nil || !strings.Contains(err.Error(), "job 1 of kind mail, attempt 1, still runs after 30s") {
			t.Errorf("error %v", err)
		}
	})
}

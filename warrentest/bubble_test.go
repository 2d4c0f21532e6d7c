package warrentest_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// In a bubble what a handler waits for takes no time, and its timeout is exact.
func TestBubble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		env := warrentest.New(t, mailer(func(ctx context.Context, _ *warren.Job[Mail]) error {
			select {
			case <-time.After(20 * time.Second):
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}))
		began := time.Now()
		publish(t, env, Mail{})
		publish(t, env, Mail{}, warren.PublishOpts{Timeout: 5 * time.Second})
		got := env.Drain()
		if len(got) != 2 || got[0].State != jobstore.Finished || got[1].State != jobstore.TemporarilyFailed {
			t.Errorf("attempts %v", got)
		}
		if took := time.Since(began); took < 25*time.Second || took > 26*time.Second {
			t.Errorf("the drain took %s", took)
		}
	})
}

// A handler that hangs fails the test, with its job's name; so does one that does not listen to the
// end of its context, without holding the test up.
func TestDrainNamesWhatHangs(t *testing.T) {
	t.Parallel()
	for name, listens := range map[string]bool{"listens": true, "does not listen": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				failed := record(t, func(tb testing.TB) {
					tb.Helper()
					env := warrentest.New(tb, mailer(func(ctx context.Context, _ *warren.Job[Mail]) error {
						if !listens {
							<-release
						}
						<-ctx.Done()
						return ctx.Err()
					}))
					publish(t, env, Mail{})
					env.Drain()
				})
				close(release)
				if want := "job 1 of kind mail, attempt 1, still runs after 30s"; !strings.Contains(failed, want) {
					t.Errorf("failure %q, want %q", failed, want)
				}
			})
		})
	}
}

package warren_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/warrentest"
)

// An Inline runs a job at once, by the rules of a consumer, and says what would have become of it.
func TestInline(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	var seen *jobstore.Job
	outcomes := map[string]error{
		"good": nil, "bad": no, "worst": warren.Permanent(no), "waits": warren.Wait(time.Hour, no), "skipped": warren.Skip("gone"),
	}
	r := handle(func(ctx context.Context, job *warren.Job[mail]) error {
		seen = job.Job
		switch job.Args.To {
		case "panics":
			panic("boo")
		case "slow":
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return errors.Join(outcomes[job.Args.To], warren.SetOutput(ctx, 1))
	}, warren.KindOpts{Queue: "letters", Timeout: 10 * time.Millisecond, Encrypted: true, Guards: warren.Guards{Locks: []warren.Lock{{Name: "one"}}}})
	inline, err := warren.NewInline(warren.InlineConfig{Registry: r, Keys: ringOf(t, keyText(t, "k")...)})
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]jobstore.State{
		"good": jobstore.Finished, "bad": jobstore.TemporarilyFailed, "worst": jobstore.PermanentlyFailed, "waits": jobstore.Waiting,
		"skipped": jobstore.Finished, "panics": jobstore.TemporarilyFailed, "slow": jobstore.TemporarilyFailed,
	} {
		p, err := inline.Publish(t.Context(), mail{To: to}, warren.PublishOpts{Delay: time.Hour, Tags: []string{"t"}})
		if p.State != want || (err == nil) != (want == jobstore.Finished) || p.Queue != "letters" || p.ID == 0 {
			t.Errorf("%s: %+v (%v), want %s", to, p, err, want)
		}
		if outcome := outcomes[to]; outcome != nil && want != jobstore.Finished && !errors.Is(err, no) {
			t.Errorf("%s: error %v", to, err)
		}
		if seen.Attempts != 1 || len(seen.Tags) != 1 {
			t.Errorf("%s: the handler saw %+v", to, seen)
		}
	}
	done, err := inline.PublishMany(t.Context(), []warren.Item{{Args: mail{To: "bad"}}, {Args: mail{To: "good"}}})
	if item, ok := errors.AsType[*warren.ItemError](err); !ok || item.Index != 0 || len(done) != 2 || done[1].State != jobstore.Finished {
		t.Errorf("of two: %+v (%v)", done, err)
	}
	if _, err := inline.PublishRaw(t.Context(), "unheard-of", nil); !errors.Is(err, warren.ErrInvalidJob) || !strings.Contains(err.Error(), "no handler") {
		t.Errorf("a kind without a handler: %v", err)
	}
	if _, err := inline.Publish(t.Context(), mail{}, warren.PublishOpts{Priority: new(7)}); !errors.Is(err, warren.ErrInvalidJob) {
		t.Errorf("a priority that is not configured: %v", err)
	}
	if _, err := warren.NewInline(warren.InlineConfig{}); err == nil {
		t.Error("an Inline without handlers was made")
	}
}

// A Discard refuses what a Client would, and drops the rest.
func TestDiscard(t *testing.T) {
	t.Parallel()
	discard, err := warren.NewDiscard(warren.InlineConfig{Registry: quiet(warren.KindOpts{Queue: "letters"})})
	if err != nil {
		t.Fatal(err)
	}
	p, err := discard.PublishRaw(t.Context(), "letter", nil)
	if err != nil || p.State != jobstore.Cancelled || p.ID != 0 || p.Queue != "letters" {
		t.Errorf("dropped: %+v (%v)", p, err)
	}
	if _, err := discard.Publish(t.Context(), mail{}, warren.PublishOpts{Delay: -time.Second}); !errors.Is(err, warren.ErrInvalidJob) {
		t.Errorf("a negative delay: %v", err)
	}
	if _, err := warren.NewDiscard(warren.InlineConfig{Priorities: []int{5, 5}}); err == nil {
		t.Error("a Discard with a priority twice was made")
	}
}

// A program that only publishes has no handlers and no registry.
func TestInsertOnlyClient(t *testing.T) {
	t.Parallel()
	env := warrentest.New(t, quiet())
	client, err := warren.NewClient(warren.ClientConfig{Store: env.Store()})
	if err != nil {
		t.Fatal(err)
	}
	publishRaw(t, client, `{}`, warren.PublishOpts{})
	if _, err := client.PublishRaw(t.Context(), "of-another-program", nil); err != nil {
		t.Error(err)
	}
	if ran := env.Drain(); len(ran) != 1 {
		t.Errorf("%d jobs ran, want the one that has a handler here", len(ran))
	}
}

package warren_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// Hooks are called before, on error and after; OnError replaces an error's class, and Before may
// stand in for the handler.
func TestHooks(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		calls := map[string][]string{}
		said := make(chan [2]string, 100)
		r := handle(func(_ context.Context, job *warren.Job[mail]) error {
			said <- [2]string{job.Identifier, "handle"}
			if job.Args.To == "good" {
				return nil
			}
			return errors.New(job.Args.To)
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Hooks: warren.Hooks{
			Before: func(_ context.Context, job *jobstore.Job) error {
				said <- [2]string{job.Identifier, "before"}
				if job.Identifier == "barred" {
					return errors.New("not today")
				}
				return nil
			},
			OnError: func(_ context.Context, job *jobstore.Job, err error) error {
				said <- [2]string{job.Identifier, "on error " + err.Error()}
				switch job.Identifier {
				case "hopeless":
					return warren.Permanent(err)
				case "patient":
					return warren.Wait(time.Hour, err)
				case "forgiven":
					return nil
				}
				return err
			},
			After: func(_ context.Context, job *jobstore.Job, err error) {
				word := "after well"
				if err != nil {
					word = "after " + err.Error()
				}
				said <- [2]string{job.Identifier, word}
			},
		}})
		for name, want := range map[string]struct {
			to    string
			state jobstore.State
			calls string
		}{
			"fine":     {"good", jobstore.Finished, "before, handle, after well"},
			"plain":    {"boom", jobstore.TemporarilyFailed, "before, handle, on error boom, after boom"},
			"hopeless": {"boom", jobstore.PermanentlyFailed, "before, handle, on error boom, after permanent: boom"},
			"patient":  {"boom", jobstore.Waiting, "before, handle, on error boom, after wait 1h0m0s: boom"},
			"forgiven": {"boom", jobstore.Finished, "before, handle, on error boom, after well"},
			"barred":   {"good", jobstore.TemporarilyFailed, "before, on error not today, after not today"},
		} {
			awaitState(t, store, publish(t, c.Client(), want.to, warren.PublishOpts{Identifier: name}), want.state)
			for len(said) > 0 {
				call := <-said
				calls[call[0]] = append(calls[call[0]], call[1])
			}
			if got := strings.Join(calls[name], ", "); got != want.calls {
				t.Errorf("%s: %s, want %s", name, got, want.calls)
			}
		}
	})
}

// What the Before hook says of a job is in its row while the handler runs; what the handler adds comes
// with the outcome.
func TestMetadataAtStart(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		seen := make(chan struct{})
		r := handle(func(ctx context.Context, _ *warren.Job[mail]) error {
			<-seen
			return warren.SetMetadata(ctx, map[string]int{"rows": 3})
		})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r, Hooks: warren.Hooks{
			Before: func(ctx context.Context, _ *jobstore.Job) error {
				return warren.SetMetadata(ctx, map[string]string{"region": "north"})
			},
		}})
		id := publish(t, c.Client(), "", warren.PublishOpts{
			Metadata: map[string]string{"by": "me"}, Mode: jobstore.Recurring, Identifier: "report", Every: time.Hour,
		})
		awaitState(t, store, id, jobstore.Processing)
		var running jobstore.Job
		await(t, "the metadata to be in the row while the handler runs", func() bool {
			var err error
			running, err = store.Get(t.Context(), id)
			return err == nil && strings.Contains(string(running.Metadata), "region")
		})
		if running.State != jobstore.Processing || !sameJSON(t, running.Metadata, `{"by":"me","region":"north"}`) {
			t.Errorf("while the handler runs the row is %s with metadata %s", running.State, running.Metadata)
		}
		close(seen)
		ended := awaitState(t, store, id, jobstore.Finished)
		next, err := store.List(t.Context(), jobstore.Filter{Identifiers: []string{"report"}, States: []jobstore.State{jobstore.Scheduled}})
		if err != nil || len(next) != 1 {
			t.Fatalf("the next turn: %+v (%v)", next, err)
		}
		for _, job := range []jobstore.Job{ended, next[0]} {
			if !sameJSON(t, job.Metadata, `{"by":"me","region":"north","rows":3}`) {
				t.Errorf("job %d, %s, has metadata %s", job.ID, job.State, job.Metadata)
			}
		}
	})
}

// What cannot be metadata is refused where it is set, and nothing is set outside of a job.
func TestMetadataIsAnObject(t *testing.T) {
	t.Parallel()
	if err := warren.SetMetadata(t.Context(), map[string]int{"a": 1}); err == nil || !strings.Contains(err.Error(), "no running job") {
		t.Errorf("outside of a job: %v", err)
	}
	store := newStore(t)
	refused := map[string]error{}
	r := handle(func(ctx context.Context, _ *warren.Job[mail]) error {
		for name, v := range map[string]any{
			"a list": []int{1}, "nothing": nil, "a number": 7, "too much": map[string]string{"a": strings.Repeat("x", 9000)},
			"a NUL": map[string]string{"a": "\x00"}, "no JSON": map[string]any{"a": func() {}},
		} {
			refused[name] = warren.SetMetadata(ctx, v)
		}
		return nil
	})
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	id := publish(t, client, "")
	exampleRun(store, r)
	if job := awaitState(t, store, id, jobstore.Finished); len(job.Metadata) != 0 || len(refused) != 6 {
		t.Errorf("metadata %s, %d refusals", job.Metadata, len(refused))
	}
	for name, err := range refused {
		if err == nil || !strings.Contains(err.Error(), "metadata") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An attempt leaves who ran it, for how long, and the heap before and after.
func TestAnAttemptIsDescribed(t *testing.T) {
	t.Parallel()
	modes(t, func(t *testing.T, store *postgres.Store, b broker.Broker) {
		t.Helper()
		r := handle(func(ctx context.Context, _ *warren.Job[mail]) error {
			<-ctx.Done()
			return warren.Permanent(ctx.Err())
		}, warren.KindOpts{Timeout: 30 * time.Millisecond})
		c := consumerOf(t, warren.ConsumerConfig{Store: store, Broker: b, Registry: r})
		job := awaitState(t, store, publish(t, c.Client(), ""), jobstore.PermanentlyFailed)
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if job.PID != os.Getpid() || job.Host != host {
			t.Errorf("it ran on %s, pid %d", job.Host, job.PID)
		}
		if job.AttemptedAt == nil || job.FinishedAt == nil || job.DurationMS == nil || *job.DurationMS < 30 {
			t.Errorf("attempted %v, finished %v, duration %v ms", job.AttemptedAt, job.FinishedAt, job.DurationMS)
		}
		var memory struct{ Before, After *int64 }
		if err := json.Unmarshal(job.Memory, &memory); err != nil || memory.Before == nil || memory.After == nil || *memory.Before <= 0 || *memory.After <= 0 {
			t.Errorf("memory %s (%v)", job.Memory, err)
		}
	})
}

func sameJSON(t *testing.T, got json.RawMessage, want string) bool {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal(got, &a), json.Unmarshal([]byte(want), &b)); err != nil {
		t.Errorf("%s: %v", got, err)
		return false
	}
	x, _ := json.Marshal(a) //nolint:errchkjson // it has just been decoded
	y, _ := json.Marshal(b) //nolint:errchkjson // it has just been decoded
	return string(x) == string(y)
}

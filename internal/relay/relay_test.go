package relay_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/relay"
	"github.com/warrenq/warren/jobstore"
)

var errAway = errors.New("away")

// world is what a relay works with: an announcer and an outbox.
type world struct {
	t         *testing.T
	r         *relay.Relay
	mu        sync.Mutex
	announced [][]jobstore.ID
	kept      []jobstore.ID
	tries     int // of the outbox
	// announce decides about a batch; nil announces everything. It may block.
	announce func(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error)
	away     bool // the outbox is
}

func (w *world) Announce(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
	w.mu.Lock()
	w.announced = append(w.announced, ids(refs))
	announce := w.announce
	w.mu.Unlock()
	if announce == nil {
		return nil, nil
	}
	return announce(ctx, refs)
}

func (w *world) Unannounced(_ context.Context, ids []jobstore.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tries++; w.away {
		return errAway
	}
	w.kept = append(w.kept, ids...)
	return nil
}

func ids(refs []jobstore.Ref) []jobstore.ID {
	out := make([]jobstore.ID, len(refs))
	for i, ref := range refs {
		out[i] = ref.ID
	}
	return out
}

func refs(from, to jobstore.ID) []jobstore.Ref {
	var out []jobstore.Ref
	for id := from; id <= to; id++ {
		out = append(out, jobstore.Ref{ID: id})
	}
	return out
}

// bubble makes a world with a relay in it, in a synctest bubble.
func bubble(t *testing.T, cfg relay.Config, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		cfg.Announcer, cfg.Outbox, cfg.Log = w, w, zap.NewNop()
		w.r = relay.New(cfg)
		test(w)
	})
}

// start runs the relay. stop ends it.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.r.Run(ctx); err != nil {
			w.t.Errorf("Run = %v", err)
		}
	})
	synctest.Wait()
	stop = func() { cancel(); run.Wait() }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) batches(want ...[]jobstore.ID) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.EqualFunc(w.announced, want, slices.Equal[[]jobstore.ID]) {
		w.t.Errorf("announced %v, want %v", w.announced, want)
	}
}

func TestAddIsAnnouncedAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.start()
		began := time.Now()
		w.r.Add(refs(1, 2)...)
		w.batches([]jobstore.ID{1, 2})
		w.r.Add()
		if took := time.Since(began); took != 0 {
			t.Errorf("announced after %s, want at once", took)
		}
	})
}

// Jobs that are published in quick succession share announcements; those that others wait for do not wait.
func TestAnnouncementsKeepTheirDistance(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{Spacing: 5 * time.Millisecond}, func(w *world) {
		w.start()
		began := time.Now()
		w.r.Add(refs(1, 1)...)
		w.batches([]jobstore.ID{1})
		w.r.Add(refs(2, 2)...)
		synctest.Wait()
		w.r.Add(refs(3, 3)...)
		w.batches([]jobstore.ID{1})
		<-time.After(5 * time.Millisecond)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2, 3})
		w.r.Add(refs(4, 4)...)
		synctest.Wait()
		w.r.AddReleased(refs(5, 5)...)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2, 3}, []jobstore.ID{4, 5})
		<-time.After(time.Second)
		w.r.Add(refs(6, 6)...)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2, 3}, []jobstore.ID{4, 5}, []jobstore.ID{6})
		if took := time.Since(began); took != time.Second+5*time.Millisecond {
			t.Errorf("the last announcement came after %s, want no pause after a quiet time", took)
		}
	})
}

func TestWhatWaitsBehindAnAnnouncementGoesOutTogether(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{Batch: 4, Spacing: time.Nanosecond}, func(w *world) {
		gate := make(chan struct{})
		w.announce = func(context.Context, []jobstore.Ref) ([]jobstore.Ref, error) { <-gate; return nil, nil }
		w.start()
		w.r.Add(refs(1, 1)...)
		synctest.Wait()
		for id := jobstore.ID(2); id <= 7; id++ {
			w.r.Add(refs(id, id)...)
		}
		<-time.After(time.Millisecond)
		close(gate)
		<-time.After(time.Millisecond)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2, 3, 4, 5}, []jobstore.ID{6, 7})
	})
}

func TestAddNeverBlocksAndDropsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{Waiting: 5}, func(w *world) {
		if w.r.Running() {
			t.Error("it says that it runs")
		}
		w.r.Add(refs(1, 3)...)
		w.r.Add(refs(4, 9)...)
		w.r.Add(refs(10, 10)...)
		stop := w.start()
		select {
		case <-w.r.Started():
		default:
			t.Error("Started is not closed")
		}
		w.batches([]jobstore.ID{1, 2, 3, 4, 5})
		if !w.r.Running() {
			t.Error("it says that it does not run")
		}
		<-time.After(time.Second)
		w.r.Add(refs(11, 11)...) // there is room again
		w.batches([]jobstore.ID{1, 2, 3, 4, 5}, []jobstore.ID{11})
		if stop(); w.r.Running() {
			t.Error("it says that it runs on")
		}
	})
}

func TestWhatFailsGoesIntoTheOutbox(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.announce = func(_ context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) { return refs[1:], errAway }
		w.start()
		w.r.Add(refs(1, 3)...)
		w.batches([]jobstore.ID{1, 2, 3})
		if !slices.Equal(w.kept, []jobstore.ID{2, 3}) {
			t.Errorf("kept %v, want what failed and nothing else", w.kept)
		}
	})
}

func TestAnOutboxThatFailsIsTriedAgainAFewTimesOnly(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.announce = func(_ context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) { return refs, errAway }
		w.away = true
		w.start()
		w.r.Add(refs(1, 1)...)
		synctest.Wait()
		w.r.Add(refs(2, 2)...)
		<-time.After(time.Minute)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2})
		if w.tries < 4 || w.tries > 20 || len(w.kept) != 0 {
			t.Errorf("%d tries for two, kept %v; want a few", w.tries, w.kept)
		}
	})
}

func TestFlushWaitsForWhatWaitsAndWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		if err := w.r.Flush(w.t.Context()); err != nil {
			t.Errorf("Flush of nothing = %v", err)
		}
		gate := make(chan struct{})
		w.announce = func(context.Context, []jobstore.Ref) ([]jobstore.Ref, error) { <-gate; return nil, nil }
		w.start()
		w.r.Add(refs(1, 1)...)
		synctest.Wait()
		flushed := make(chan error, 1)
		go func() { flushed <- w.r.Flush(w.t.Context()) }()
		short, cancel := context.WithTimeoutCause(w.t.Context(), time.Second, errAway)
		defer cancel()
		if err := w.r.Flush(short); !errors.Is(err, errAway) {
			t.Errorf("Flush = %v, want why its context ended", err)
		}
		if len(flushed) != 0 {
			t.Error("Flush returned while an announcement is under way")
		}
		close(gate)
		if err := <-flushed; err != nil {
			t.Errorf("Flush = %v", err)
		}
	})
}

func TestFlushWaitsForTheOutbox(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.announce = func(_ context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
			<-time.After(time.Second)
			return refs, errAway
		}
		w.start()
		w.r.Add(refs(1, 1)...)
		if err := w.r.Flush(w.t.Context()); err != nil || !slices.Equal(w.kept, []jobstore.ID{1}) {
			t.Errorf("Flush = %v with %v kept, want 1", err, w.kept)
		}
	})
}

func TestStopAnnouncesWhatWaits(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.announce = func(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
			select {
			case <-time.After(time.Second):
				return nil, nil
			case <-ctx.Done():
				return refs, ctx.Err()
			}
		}
		stop := w.start()
		w.r.Add(refs(1, 1)...)
		synctest.Wait()
		w.r.Add(refs(2, 2)...)
		go stop()
		synctest.Wait()
		<-time.After(5 * time.Second)
		w.batches([]jobstore.ID{1}, []jobstore.ID{2})
		if len(w.kept) != 0 {
			t.Errorf("kept %v; the stop has cut off an announcement that was under way", w.kept)
		}
	})
}

func TestAStopAtOnceAnnouncesToo(t *testing.T) {
	t.Parallel()
	for range 20 { // the relay may see the stop or the work first
		bubble(t, relay.Config{}, func(w *world) {
			w.r.Add(refs(1, 2)...)
			ctx, cancel := context.WithCancel(w.t.Context())
			cancel()
			if err := w.r.Run(ctx); err != nil {
				t.Errorf("Run = %v", err)
			}
			w.batches([]jobstore.ID{1, 2})
		})
	}
}

// A program that publishes one job, and waits so long for a broker that hangs, does not do so twice.
func TestWhatWasWaitedForInVainGetsNoMoreTime(t *testing.T) {
	t.Parallel()
	bubble(t, relay.Config{}, func(w *world) {
		w.announce = func(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
			select {
			case <-time.After(3 * time.Second):
				return nil, nil
			case <-ctx.Done():
				return refs, ctx.Err()
			}
		}
		vain := func() {
			t.Helper()
			short, cancel := context.WithTimeout(w.t.Context(), time.Second)
			defer cancel()
			if err := w.r.Flush(short); err == nil {
				t.Error("Flush did not wait in vain")
			}
		}
		stop := w.start()
		w.r.Add(refs(1, 1)...)
		vain()
		<-time.After(5 * time.Second) // it arrives after all: what comes next is another matter
		w.r.Add(refs(2, 2)...)
		vain()
		w.r.Add(refs(3, 3)...)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 || !slices.Equal(w.kept, []jobstore.ID{2, 3}) {
			t.Errorf("the stop took %s, in the outbox are %v; want it at once, and 2 and 3", took, w.kept)
		}
	})
}

func TestStopLeavesTheRestToTheOutboxInBoundedTime(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"the broker hangs": false, "and the database is away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, relay.Config{Batch: 10}, func(w *world) {
				w.announce = func(ctx context.Context, refs []jobstore.Ref) ([]jobstore.Ref, error) {
					<-ctx.Done()
					return refs, ctx.Err()
				}
				w.away = away
				stop := w.start()
				w.r.Add(refs(1, 1000)...)
				synctest.Wait()
				began := time.Now()
				stop()
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("the stop took %s", took)
				}
				if want := 1000; !away && len(w.kept) != want {
					t.Errorf("%d in the outbox, want %d", len(w.kept), want)
				}
				if err := w.r.Flush(w.t.Context()); err != nil {
					t.Errorf("Flush after the end = %v", err)
				}
			})
		})
	}
}

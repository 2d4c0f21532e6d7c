package worker_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// registrar is a store for one keeper. Each of its answers can be replaced.
type registrar struct {
	mu         sync.Mutex
	registered []time.Time // when
	received   []time.Duration
	gone       []jobstore.HolderID
	onRegister func(ctx context.Context, n int) error
	onRenew    func(ctx context.Context, id jobstore.HolderID) (jobstore.Orders, error)
}

func (r *registrar) Register(ctx context.Context, c jobstore.Consumer, _ time.Duration) (jobstore.HolderID, error) {
	r.mu.Lock()
	r.registered = append(r.registered, time.Now())
	r.received = append(r.received, worker.BootTime())
	n, answer := len(r.registered), r.onRegister
	r.mu.Unlock()
	if c.Host != "here" {
		return 0, errors.New("this is not the consumer that was described")
	}
	if answer != nil {
		if err := answer(ctx, n); err != nil {
			return 0, err
		}
	}
	return jobstore.HolderID(n), nil
}

func (r *registrar) Renew(ctx context.Context, id jobstore.HolderID, _ time.Duration) (jobstore.Orders, error) {
	r.mu.Lock()
	answer := r.onRenew
	r.mu.Unlock()
	now := worker.BootTime()
	var o jobstore.Orders
	var err error
	if answer != nil {
		o, err = answer(ctx, id)
	}
	if err == nil {
		r.mu.Lock()
		r.received = append(r.received, now)
		r.mu.Unlock()
	}
	return o, err
}

func (r *registrar) Deregister(_ context.Context, id jobstore.HolderID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = append(r.gone, id)
	return nil
}

// last is when the last answer that was a success was asked for, at the latest.
func (r *registrar) last() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.received[len(r.received)-1]
}

func (r *registrar) setRenew(answer func(ctx context.Context, id jobstore.HolderID) (jobstore.Orders, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onRenew = answer
}

// keep runs a keeper over r. stop ends it and returns what Run returned.
func keep(t *testing.T, r *registrar, beat worker.Beat, restart func()) (k *worker.Keeper, stop func(cause error) error) {
	t.Helper()
	k = worker.NewKeeper(r, jobstore.Consumer{Host: "here"}, beat, restart, zap.NewNop())
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func(cause error) error {
		once.Do(func() { cancel(cause); err = <-ended })
		return err
	}
	t.Cleanup(func() { _ = stop(nil) })
	return k, stop
}

// termOf waits for a term, with a deadline that only a hang reaches.
func termOf(t *testing.T, k *worker.Keeper) *worker.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	term, err := k.Term(ctx)
	if err != nil {
		t.Fatalf("Term: %v", err)
	}
	return term
}

// ends waits for the end of a term.
func ends(t *testing.T, term *worker.Term) {
	t.Helper()
	select {
	case <-term.Context().Done():
		if cause := context.Cause(term.Context()); !errors.Is(cause, worker.ErrLeaseLost) {
			t.Errorf("the term ended with %v, want ErrLeaseLost", cause)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the term goes on")
	}
}

// short is a lease for tests on the real clock.
var short = worker.Beat{TTL: 400 * time.Millisecond, Every: 50 * time.Millisecond} //nolint:gochecknoglobals // a constant

// The database may hand a lease's jobs out a TTL after it has taken the renewal, so the process
// must have stopped before a TTL after it has *sent* it. The fake notes when a call came in, which
// is later.
func (r *registrar) fenced(t *testing.T, term *worker.Term) {
	t.Helper()
	if late := term.Deadline() - (r.last() + short.TTL*7/8); late > 0 {
		t.Errorf("the term's deadline is %s later than seven eighths of a TTL after its last renewal", late)
	}
}

func TestAProcessThatCannotRenewFencesItself(t *testing.T) {
	t.Parallel()
	for name, renew := range map[string]func(ctx context.Context, _ jobstore.HolderID) (jobstore.Orders, error){
		"errors": func(context.Context, jobstore.HolderID) (jobstore.Orders, error) { return jobstore.Orders{}, errAway },
		"hangs": func(ctx context.Context, _ jobstore.HolderID) (jobstore.Orders, error) {
			<-ctx.Done()
			return jobstore.Orders{}, ctx.Err()
		},
		"is slow": func(ctx context.Context, _ jobstore.HolderID) (jobstore.Orders, error) {
			_ = worker.Sleep(context.WithoutCancel(ctx), 500*time.Millisecond)
			return jobstore.Orders{}, nil // an answer to a question that is older than the lease
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &registrar{}
			k, _ := keep(t, r, short, func() {})
			first := termOf(t, k)
			for r.renewals() < 2 { // it has worked before
				_ = worker.Sleep(t.Context(), 5*time.Millisecond)
			}
			r.setRenew(renew)
			ends(t, first)
			r.fenced(t, first)
			r.setRenew(nil)
			if second := termOf(t, k); second.Holder == first.Holder {
				t.Error("a term that is over was handed out")
			}
		})
	}
}

func (r *registrar) renewals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.received) - len(r.registered)
}

func TestRenewalsKeepTheTermAlive(t *testing.T) {
	t.Parallel()
	r := &registrar{}
	k, stop := keep(t, r, worker.Beat{TTL: 30 * time.Second, Every: 20 * time.Millisecond}, func() {})
	term := termOf(t, k)
	begin := term.Deadline()
	for r.renewals() < 10 {
		_ = worker.Sleep(t.Context(), 5*time.Millisecond)
	}
	if !term.Alive() || termOf(t, k) != term {
		t.Error("the term did not outlive ten renewals")
	}
	if term.Deadline() <= begin {
		t.Error("ten renewals did not move the deadline")
	}
	if err := stop(nil); err != nil {
		t.Errorf("Run = %v", err)
	}
	if term.Alive() || !slices.Equal(r.gone, []jobstore.HolderID{term.Holder}) {
		t.Errorf("alive %t, removed %v; want the registration removed at the end", term.Alive(), r.gone)
	}
}

func TestAGoneRegistrationIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registrar{onRenew: func(_ context.Context, id jobstore.HolderID) (jobstore.Orders, error) {
			if id == 1 {
				return jobstore.Orders{}, jobstore.ErrHolderGone
			}
			return jobstore.Orders{}, nil
		}}
		k, stop := keep(t, r, worker.Beat{}, func() {})
		first := termOf(t, k)
		ends(t, first)
		if second := termOf(t, k); second.Holder != 2 || !second.Alive() {
			t.Errorf("the next term is %d, want 2", second.Holder)
		}
		_ = stop(nil)
		if !slices.Equal(r.gone, []jobstore.HolderID{2}) {
			t.Errorf("removed %v, want only the living registration: the lost one is for the rescue", r.gone)
		}
	})
}

func TestAThawedProcessFindsItsLeaseLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _ := keep(t, &registrar{}, worker.Beat{}, func() {})
		first := termOf(t, k)
		first.Freeze()
		ends(t, first) // by the look at the clock, long before a renewal fails
		if second := termOf(t, k); second.Holder != 2 {
			t.Errorf("the next term is %d, want 2", second.Holder)
		}
	})
}

func TestRegistrationsThatDieAtOnceAreNoHotLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _ := keep(t, &registrar{}, worker.Beat{}, func() {})
		began := time.Now()
		for range 20 {
			term := termOf(t, k)
			term.Lost() // a claim was told that its holder is gone
			ends(t, term)
		}
		if took := time.Since(began); took < 30*time.Second {
			t.Errorf("20 registrations in %s, want at most one in 2 s in the long run", took)
		}
	})
}

func TestRegisteringIsTriedAgainWithGrowingPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &registrar{onRegister: func(_ context.Context, n int) error {
			if n <= 10 {
				return errAway
			}
			return nil
		}}
		k, _ := keep(t, r, worker.Beat{}, func() {})
		pass(2 * time.Minute)
		if term := termOf(t, k); term.Holder != 11 {
			t.Fatalf("the term is %d, want 11", term.Holder)
		}
		for i, ms := range []int64{100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000} {
			if pause := r.registered[i+1].Sub(r.registered[i]); pause.Milliseconds() < ms {
				t.Errorf("pause %d is %s, want %d ms", i, pause, ms)
			}
		}
	})
}

func TestARegistrationThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _ := keep(t, &registrar{onRegister: func(ctx context.Context, n int) error {
			if n == 1 { // a connection into a black hole
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}, worker.Beat{}, func() {})
		pass(10 * time.Second)
		if term := termOf(t, k); term.Holder != 2 {
			t.Errorf("the term is %d, want 2", term.Holder)
		}
	})
}

func TestASchemaThatDoesNotFitEndsRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, stop := keep(t, &registrar{onRegister: func(context.Context, int) error { return jobstore.ErrSchema }}, worker.Beat{}, nil)
		synctest.Wait()
		if err := stop(nil); !errors.Is(err, jobstore.ErrSchema) {
			t.Errorf("Run = %v, want ErrSchema", err)
		}
	})
}

func TestAStopWhileRegisteringIsNoError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, stop := keep(t, &registrar{onRegister: func(context.Context, int) error { return errAway }}, worker.Beat{}, nil)
		pass(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := k.Term(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Term without a registration = %v, want its context's end", err)
		}
		if err := stop(errBoom); err != nil {
			t.Errorf("Run = %v, want nil: it was asked to stop", err)
		}
	})
}

func TestAnOrderToRestartIsPassedOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ordered := make(chan struct{}, 100)
		r := &registrar{onRenew: func(context.Context, jobstore.HolderID) (jobstore.Orders, error) {
			return jobstore.Orders{Restart: true}, nil
		}}
		k, _ := keep(t, r, worker.Beat{}, func() { ordered <- struct{}{} })
		pass(5 * time.Second)
		if len(ordered) != 1 {
			t.Errorf("%d orders after one renewal, want 1", len(ordered))
		}
		if !termOf(t, k).Alive() {
			t.Error("the order ended the term: what runs is to be finished")
		}
	})
}

func TestALateRenewalDoesNotReviveATerm(t *testing.T) {
	t.Parallel()
	term := worker.NewTerm(1, time.Hour)
	term.Freeze()
	if term.Alive() {
		t.Fatal("alive past its deadline")
	}
	term.Extend(worker.BootTime() + time.Hour)
	if term.Alive() {
		t.Error("a renewal revived a term whose handlers were told that it is over")
	}
}

func TestADeadlineNeverMovesBack(t *testing.T) {
	t.Parallel()
	term := worker.NewTerm(1, time.Hour)
	before := term.Deadline()
	term.Extend(before - time.Minute) // the reply to an older renewal
	if term.Deadline() != before {
		t.Error("an older renewal has shortened the lease")
	}
}

func TestBeatDefaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, want worker.Beat }{
		{worker.Beat{}, worker.Beat{TTL: 20 * time.Second, Every: 5 * time.Second}},
		{worker.Beat{TTL: time.Minute}, worker.Beat{TTL: time.Minute, Every: 15 * time.Second}},
		{worker.Beat{TTL: time.Minute, Every: time.Second}, worker.Beat{TTL: time.Minute, Every: time.Second}},
		{worker.Beat{TTL: time.Minute, Every: time.Hour}, worker.Beat{TTL: time.Minute, Every: 15 * time.Second}},
	} {
		if got := c.in.WithDefaults(); got != c.want {
			t.Errorf("%+v becomes %+v, want %+v", c.in, got, c.want)
		}
	}
}

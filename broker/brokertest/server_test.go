package brokertest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServerFulfilsTheContract(t *testing.T) {
	t.Parallel()
	brokertest.Exercise(t, func(testing.TB) brokertest.Kit {
		s := brokertest.NewServer()
		return brokertest.Kit{
			Open:       func(testing.TB) broker.Broker { return s.Open() },
			Inject:     func(_ testing.TB, b broker.Band, body []byte) { s.Inject(b, body) },
			Poisoned:   func(testing.TB) int { return len(s.Poison()) },
			Disconnect: func(testing.TB) { s.Disconnect() },
			Arrived:    brokertest.Arrived,
		}
	})
}

func ten() broker.Band { return broker.Band{Queue: "q", Priority: 10} }

func hint(numbers ...int64) []broker.Hint {
	return []broker.Hint{{Band: ten(), Numbers: numbers}}
}

// start runs a broker of s until the test ends. It is for use inside of a synctest bubble.
func start(t *testing.T, s *brokertest.Server) broker.Broker {
	t.Helper()
	b := s.Open()
	done := make(chan error, 1)
	go func() { done <- b.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	synctest.Wait()
	return b
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[brokertest.Verdict]struct {
		waiting     []int64
		unavailable bool
	}{
		brokertest.Accept:      {waiting: []int64{1, 2}},
		brokertest.Lose:        {},
		brokertest.Double:      {waiting: []int64{1, 2, 1, 2}},
		brokertest.Reject:      {unavailable: true},
		brokertest.Unconfirmed: {waiting: []int64{1, 2}, unavailable: true},
		brokertest.Hang:        {waiting: []int64{1, 2}, unavailable: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := brokertest.NewServer()
			b := start(t, s)
			s.OnPublish(func(broker.Hint) brokertest.Verdict { return verdict })
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			errs := b.Publish(ctx, hint(1, 2))
			if unavailable := len(errs) == 1 && errors.Is(errs[0], broker.ErrUnavailable); unavailable != want.unavailable {
				t.Errorf("verdict %d: Publish = %v", verdict, errs)
			}
			if got := s.Waiting(ten()); !slices.Equal(got, want.waiting) {
				t.Errorf("verdict %d: waiting %v; want %v", verdict, got, want.waiting)
			}
			if hung := ctx.Err() != nil; hung != (verdict == brokertest.Hang) {
				t.Errorf("verdict %d: waited for the context: %t", verdict, hung)
			}
			s.OnPublish(nil)
			if errs := b.Publish(ctx, hint(3)); errs != nil && verdict != brokertest.Hang {
				t.Errorf("verdict %d: Publish afterwards = %v", verdict, errs)
			}
		})
	}
}

func TestDownAndUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.NewServer()
		b := start(t, s)
		sub, err := b.Subscribe([]broker.Band{ten()}, 5)
		if err != nil {
			t.Fatal(err)
		}
		if errs := b.Publish(t.Context(), hint(1)); errs != nil {
			t.Fatalf("Publish = %v", errs)
		}
		d, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.Down()
		if b.Up() {
			t.Error("up while the server is down")
		}
		if errs := b.Publish(t.Context(), hint(2)); len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
			t.Errorf("Publish = %v; want ErrUnavailable", errs)
		}
		if err := sub.Ack([]broker.Delivery{d}); !errors.Is(err, broker.ErrStale) {
			t.Errorf("Ack = %v; want ErrStale", err)
		}
		s.Up()
		if d, err = sub.Next(t.Context()); err != nil || !d.Redelivered {
			t.Errorf("Next = %+v, %v; want the hint again", d, err)
		}
		s.Purge(ten())
		s.Wipe()
		if err := sub.Ack([]broker.Delivery{d}); !errors.Is(err, broker.ErrStale) {
			t.Errorf("Ack after Wipe = %v; want ErrStale", err)
		}
		if d, ok := sub.TryNext(); ok {
			t.Errorf("%v survived Wipe", d.Numbers)
		}
	})
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.NewServer()
		b := start(t, s)
		sub, err := b.Subscribe([]broker.Band{ten()}, 5)
		if err != nil {
			t.Fatal(err)
		}
		s.Refuse(errors.New("wrong password"))
		if errs := b.Publish(t.Context(), hint(1)); len(errs) != 1 || !errors.Is(errs[0], broker.ErrConfig) {
			t.Errorf("Publish = %v; want ErrConfig", errs)
		}
		if _, err := b.Depth(t.Context(), ten()); !errors.Is(err, broker.ErrConfig) {
			t.Errorf("Depth = %v; want ErrConfig", err)
		}
		if _, err := sub.Next(t.Context()); !errors.Is(err, broker.ErrConfig) {
			t.Errorf("Next = %v; want ErrConfig", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := sub.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second Next = %v; want it to wait", err)
		}
		s.Refuse(nil)
		if errs := b.Publish(t.Context(), hint(2)); errs != nil {
			t.Errorf("Publish = %v", errs)
		}
		if d, err := sub.Next(t.Context()); err != nil || d.Numbers[0] != 2 {
			t.Errorf("Next = %v, %v; want 2", d.Numbers, err)
		}
	})
}

func TestPublishWaitsForRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := brokertest.NewServer()
		b := s.Open()
		began := time.Now()
		if errs := b.Publish(t.Context(), hint(1)); len(errs) != 1 || !errors.Is(errs[0], broker.ErrUnavailable) {
			t.Errorf("Publish without Run = %v; want ErrUnavailable", errs)
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("Publish waited %s for Run; want 5 s", d)
		}
	})
}

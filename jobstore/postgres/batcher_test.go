package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/warrenq/warren/jobstore/postgres"
)

// gate is a batch function whose batches wait to be let through.
type gate struct {
	mu      sync.Mutex
	batches [][]string
	let     chan error
}

func (g *gate) run(ctx context.Context, items []string) ([]string, error) {
	g.mu.Lock()
	g.batches = append(g.batches, items)
	g.mu.Unlock()
	select {
	case err := <-g.let:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := make([]string, len(items))
	for i, s := range items {
		if strings.HasPrefix(s, "bad") {
			return nil, &pgconn.PgError{Code: "22P02"}
		}
		out[i] = strings.ToUpper(s)
	}
	return out, nil
}

func (g *gate) seen() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return fmt.Sprint(g.batches)
}

// A database that does not answer keeps nobody for ever, and not those who come after.
func TestBatcherGivesUpWhatIsNotAnswered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{let: make(chan error)}
		do := postgres.NewBatcher(g.run, 1, 4)
		if _, err := do(t.Context(), "a"); !errors.Is(err, postgres.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a batch without an answer: %v, want that its commit is unknown", err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if out, err := do(t.Context(), "b"); err != nil || out[0] != "B" {
				t.Errorf("the next: %v, %v", out, err)
			}
		})
		g.let <- nil
		wg.Wait()
	})
}

func TestBatcherGathersBehindTheFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{let: make(chan error)}
		do := postgres.NewBatcher(g.run, 1, 4)
		var wg sync.WaitGroup
		for _, items := range [][]string{{"a"}, {"b", "c"}, {"d"}, {"e", "f"}} {
			wg.Go(func() {
				out, err := do(t.Context(), items...)
				if err != nil || fmt.Sprint(out) != strings.ToUpper(fmt.Sprint(items)) {
					t.Errorf("%v became %v, %v", items, out, err)
				}
			})
			synctest.Wait()
		}
		if got := g.seen(); got != "[[a]]" {
			t.Errorf("a call alone must leave at once and alone: %s", got)
		}
		for range 3 {
			g.let <- nil
			synctest.Wait()
		}
		wg.Wait()
		if got := g.seen(); got != "[[a] [b c d] [e f]]" {
			t.Errorf("batches of at most 4: %s", got)
		}
	})
}

func TestBatcherKeepsBadDataToItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{let: make(chan error, 10)}
		do := postgres.NewBatcher(g.run, 1, 100)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				item := fmt.Sprint("ok", i)
				if i == 3 {
					item = "bad"
				}
				_, err := do(t.Context(), item)
				var pg *pgconn.PgError
				if (i == 3) != errors.As(err, &pg) {
					t.Errorf("call %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		for range 6 {
			g.let <- nil
		}
		wg.Wait()
	})
}

func TestBatcherServerErrorIsEveryones(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{let: make(chan error)}
		do := postgres.NewBatcher(g.run, 1, 100)
		down := &pgconn.PgError{Code: "57P01"}
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if _, err := do(t.Context(), string(rune('0'+i))); (i > 0) != errors.Is(err, down) {
					t.Errorf("call %d: %v", i, err)
				}
			})
			synctest.Wait()
		}
		g.let <- nil
		g.let <- down
		wg.Wait()
		if got := g.seen(); got != "[[0] [1 2]]" {
			t.Errorf("a batch must not be sent again when the server failed: %s", got)
		}
	})
}

func TestBatcherCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{let: make(chan error)}
		do := postgres.NewBatcher(g.run, 1, 100)
		flying, cancelFlying := context.WithCancel(t.Context())
		waiting, cancelWaiting := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		start := func(ctx context.Context, item string, check func(error) bool) {
			wg.Go(func() {
				if _, err := do(ctx, item); !check(err) {
					t.Errorf("%s: %v", item, err)
				}
			})
			synctest.Wait()
		}
		start(flying, "flying", func(err error) bool {
			return errors.Is(err, postgres.ErrUnknown) && errors.Is(err, context.Canceled)
		})
		start(waiting, "waiting", func(err error) bool {
			return errors.Is(err, context.Canceled) && !errors.Is(err, postgres.ErrUnknown)
		})
		start(t.Context(), "other", func(err error) bool { return err == nil })
		cancelFlying()
		cancelWaiting()
		synctest.Wait()
		g.let <- nil
		g.let <- nil
		wg.Wait()
		if got := g.seen(); got != "[[flying] [other]]" {
			t.Errorf("batches: %s", got)
		}
	})
}

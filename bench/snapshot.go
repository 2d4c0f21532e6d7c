package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// snapshotParts is how many parts the time beside an old snapshot has. The last is compared with the first.
const snapshotParts = 10

// snapshotTests are about what nobody may remove: while a snapshot is open, each state that a job has left behind stays in
// the table and in its indexes, and whoever looks for work may have to pass it.
func snapshotTests() []test {
	return []test{{
		name: "snapshot", weight: 11, what: "1000 jobs a second for 10 minutes beside a snapshot that stays open, the last minute over the first: p99 from " +
			"publish to start (snapshot), and the other way round jobs a second (snapshot_rate). All contenders at once, each in a database of its own",
		unit: "times", lower: true, figures: []string{"snapshot", "snapshot_rate"}, most: 1.2, together: besideSnapshot,
	}}
}

// besideSnapshot gives each mode of Warren a database, because they take part at the same time.
func besideSnapshot(ctx context.Context, a *arena) (playing []contender, out []sample, err error) {
	var pools []*pgxpool.Pool
	for _, mode := range []string{modeFull, modePG} {
		store, admin, err := a.store(ctx)
		if err != nil {
			return nil, nil, err
		}
		w, err := newOurs(ctx, mode, a.amqp(mode), store, admin, a.plan.slots)
		if err != nil {
			return nil, nil, err
		}
		defer w.close()
		playing, pools = append(playing, w), append(pools, admin)
	}
	for _, c := range a.all {
		r, ok := c.(*theirs)
		if !ok {
			continue
		}
		set, known := a.best["latency "+r.name()]
		if !known {
			set = r.settings("latency")[0]
		}
		if err := r.use(ctx, set); err != nil {
			return nil, nil, err
		}
		playing, pools = append(playing, r), append(pools, r.admin)
	}
	fmt.Printf("  snapshot: %s\n", (snapshotParts+1)*a.plan.seconds(60, 2))
	out = make([]sample, len(playing))
	g, ctx := errgroup.WithContext(ctx)
	for i, c := range playing {
		g.Go(func() (err error) {
			out[i], err = beside1000(ctx, a.plan, c, pools[i])
			return err
		})
	}
	return playing, out, g.Wait()
}

// beside1000 opens the snapshot when the consumer is at work, so that the first part is not the start of anything.
func beside1000(ctx context.Context, p *plan, c contender, db *pgxpool.Pool) (s sample, err error) {
	if err := c.reset(ctx, warmRows); err != nil {
		return s, err
	}
	const (
		pace  = 10 * time.Millisecond
		batch = 10
	)
	part := p.seconds(60, 2)
	var mu sync.Mutex
	var began time.Time
	took := make([][]float64, snapshotParts)
	stop, err := atWork(ctx, c, func(a args) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		if i := int(now.Sub(began) / part); !began.IsZero() && i < snapshotParts {
			took[i] = append(took[i], float64(now.Sub(time.Unix(0, a.Sent)).Microseconds())/1000)
		}
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	tx, err := db.Begin(ctx)
	if err != nil {
		return s, err
	}
	defer tx.Rollback(ctx) //nolint:errcheck // it has written nothing
	if _, err := tx.Exec(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
		return s, err
	}
	if _, err := tx.Exec(ctx, "SELECT count(*) FROM pg_class"); err != nil {
		return s, err
	}
	t := time.NewTicker(pace)
	defer t.Stop()
	warm := time.Now().Add(part / 6)
	for end := warm.Add(snapshotParts * part); time.Now().Before(end); {
		if time.Now().After(warm) {
			mu.Lock()
			if began.IsZero() {
				began = warm
			}
			mu.Unlock()
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return s, ctx.Err()
		}
		if err := c.insertMany(ctx, batch, false); err != nil {
			return s, err
		}
	}
	mu.Lock()
	defer mu.Unlock()
	first, last := took[0], took[snapshotParts-1]
	fmt.Printf("  snapshot, %s: p99 %.3g ms at first, %.3g ms at last; %d and %d jobs\n", c.name(), quantile(first, 0.99), quantile(last, 0.99), len(first), len(last))
	s.values = []float64{quantile(last, 0.99) / quantile(first, 0.99), float64(len(first)) / float64(len(last))}
	return s, nil
}

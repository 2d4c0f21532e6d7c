package warren_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore/postgres"
)

// BenchmarkConsume is how fast one consumer works off jobs that wait, without a broker, and what of
// the processor's time is spent in this process. Give a number of jobs, such as -benchtime=50000x.
func BenchmarkConsume(b *testing.B) {
	dsn := testenv.Postgres(b)
	store, err := postgres.Open(b.Context(), dsn, postgres.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	if err := store.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(b.Context(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(b.Context())) //nolint:errcheck // nothing is lost with it
	for _, sql := range []string{
		// With SQL, so that a profile shows the work and nothing else.
		fmt.Sprintf(`INSERT INTO warren.jobs (priority, queue, kind, args)
			SELECT 10, 'default', 'mail', jsonb_build_object('to', lpad(n::text, 160, '0')) FROM generate_series(1, %d) n`, b.N),
		"VACUUM ANALYZE warren.jobs_live",
	} {
		if _, err := conn.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	c, err := warren.NewConsumer(warren.ConsumerConfig{Store: store, Concurrency: 200, Registry: handle(func(context.Context, *warren.Job[mail]) error {
		if left.Add(-1) == 0 {
			close(done)
		}
		return nil
	})})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	before := ownTime(b)
	b.ResetTimer()
	go func() { ended <- c.Run(ctx) }()
	<-done
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	b.ReportMetric(float64((ownTime(b)-before).Microseconds())/float64(b.N), "own-cpu-µs/job")
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

// ownTime is the processor time of this process.
func ownTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

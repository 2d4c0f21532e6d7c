package sqlite_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func job() jobstore.NewJob {
	return jobstore.NewJob{Kind: "k", Args: json.RawMessage(`{}`), Queue: "default", Priority: 10, Mode: jobstore.Normal, MaxAttempts: 25}
}

func benchJobs(n int) []jobstore.NewJob {
	jobs := make([]jobstore.NewJob, n)
	for i := range jobs {
		jobs[i] = job()
		jobs[i].Args = json.RawMessage(`{"to": "someone@example.org", "text": "` + strings.Repeat("x", 160) + `"}`)
	}
	return jobs
}

func register(tb testing.TB, s jobstore.Store) jobstore.Claimant {
	tb.Helper()
	c := jobstore.Consumer{Host: "h", PID: 1, Kinds: []string{"k"}, Queues: []string{"default"}, Priorities: []int{10, 20, 30, 40, 50}}
	id, err := s.Register(tb.Context(), c, time.Hour)
	if err != nil {
		tb.Fatal(err)
	}
	return jobstore.Claimant{Holder: id, Host: c.Host, PID: c.PID, Queues: c.Queues, Priorities: c.Priorities, Kinds: c.Kinds, Token: 1}
}

// BenchmarkThrough is a job's whole way: inserted 1000 a call, claimed in order and recorded. Each
// commit is on disk (synchronous = FULL).
func BenchmarkThrough(b *testing.B) {
	for _, batch := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			s, _ := fresh(b)
			by := register(b, s)
			done := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Insert(b.Context(), benchJobs(1000)); err != nil {
					b.Fatal(err)
				}
				for range 1000 / batch {
					done += pass(b, s, by, batch)
				}
			}
			if done != b.N*1000 {
				b.Fatalf("%d of %d jobs were done", done, b.N*1000)
			}
			b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

// pass claims at most n jobs and records that they are finished.
func pass(tb testing.TB, s jobstore.Store, by jobstore.Claimant, n int) int {
	tb.Helper()
	leases, err := s.ClaimNext(tb.Context(), by, n)
	if err != nil {
		tb.Fatal(err)
	}
	done := make([]jobstore.Outcome, len(leases))
	for i := range leases {
		j := &leases[i].Job
		done[i] = jobstore.Outcome{ID: j.ID, LeaseNo: j.LeaseNo, State: jobstore.Finished, SerialGroup: j.SerialGroup}
	}
	if rec, err := s.Record(tb.Context(), by.Holder, done); err != nil || len(rec.Fenced) > 0 {
		tb.Fatalf("recorded %+v, %v", rec, err)
	}
	return len(done)
}

// BenchmarkInsert is one job a call from 1, 16 and 64 callers, which share commits.
func BenchmarkInsert(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, _ := fresh(b)
			jobs := benchJobs(1)
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			done := make(chan error, callers)
			for range callers {
				go func() {
					for left.Add(-1) >= 0 {
						if _, err := s.Insert(b.Context(), jobs); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Error(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
		})
	}
}

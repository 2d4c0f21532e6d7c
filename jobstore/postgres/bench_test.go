package postgres_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/warrenq/warren/jobstore"
)

func benchJobs(n int) []jobstore.NewJob {
	jobs := make([]jobstore.NewJob, n)
	for i := range jobs {
		jobs[i] = job()
		jobs[i].Args = json.RawMessage(`{"to": "someone@example.org", "text": "` + strings.Repeat("x", 160) + `"}`)
	}
	return jobs
}

// BenchmarkInsert is one job a call from 1, 16 and 64 callers, then 1000 jobs a call. Its test
// server has fsync off: look at ratios, and at real disks with WARREN_TEST_DATABASE_URL.
func BenchmarkInsert(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, _ := fresh(b)
			jobs := benchJobs(1)
			b.SetParallelism(max(1, callers/2)) // times GOMAXPROCS
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
	b.Run("bulk=1000", func(b *testing.B) {
		s, _ := fresh(b)
		jobs := benchJobs(1000)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Insert(b.Context(), jobs); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "jobs/s")
	})
}

// BenchmarkClaimRecord claims a batch by number and records it as finished.
func BenchmarkClaimRecord(b *testing.B) {
	for _, batch := range []int{1, 10, 100, 500} {
		for _, grouped := range []bool{false, true} {
			b.Run(fmt.Sprintf("batch=%d/groups=%t", batch, grouped), func(b *testing.B) {
				s, _ := fresh(b)
				by := register(b, s)
				var queue []jobstore.ID
				b.ReportAllocs()
				for b.Loop() {
					if len(queue) < batch {
						b.StopTimer()
						queue = append(queue, preload(b, s, 20*batch, grouped)...)
						b.StartTimer()
					}
					got, err := s.Claim(b.Context(), by, queue[:batch])
					queue = queue[batch:]
					if err != nil || len(got.Leases) != batch {
						b.Fatalf("claimed %d of %d, %v", len(got.Leases), batch, err)
					}
					done := make([]jobstore.Outcome, batch)
					for i := range got.Leases {
						l := &got.Leases[i].Job
						done[i] = jobstore.Outcome{ID: l.ID, LeaseNo: l.LeaseNo, State: jobstore.Finished, SerialGroup: l.SerialGroup}
					}
					if rec, err := s.Record(b.Context(), by.Holder, done); err != nil || len(rec.Fenced) > 0 {
						b.Fatalf("recorded %+v, %v", rec, err)
					}
				}
				b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "jobs/s")
			})
		}
	}
}

func preload(b *testing.B, s jobstore.Store, n int, grouped bool) []jobstore.ID {
	b.Helper()
	jobs := benchJobs(n)
	for i := range jobs {
		if grouped {
			jobs[i].SerialGroup = fmt.Sprint("g", i)
		}
	}
	got, err := s.Insert(b.Context(), jobs)
	if err != nil {
		b.Fatal(err)
	}
	ids := make([]jobstore.ID, n)
	for i := range got {
		ids[i] = got[i].ID
	}
	return ids
}

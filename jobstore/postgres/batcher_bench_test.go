package postgres

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// How many of 64 callers share a commit that takes a millisecond.
func BenchmarkBatcher(b *testing.B) {
	var batches atomic.Int64
	bat := newBatcher(func(_ context.Context, items []int) ([]int, error) {
		batches.Add(1)
		<-time.After(time.Millisecond)
		return items, nil
	}, insertFlights, insertBatchRows)
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for taken.Add(1) <= int64(b.N) {
				if _, err := bat.do(b.Context(), []int{1}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/float64(batches.Load()), "calls/batch")
}

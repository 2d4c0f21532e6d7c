package main

import (
	"context"
	"errors"
	"sync"
	"time"
)

// pace is how far apart publishes of the latency test are: 50 a second.
const pace = 20 * time.Millisecond

func latencyTests() []test {
	return []test{{
		name: "latency", what: "50 jobs a second: from the call of publish to the handler's start", unit: "ms", lower: true,
		figures: []string{"latency", "latency_p99"}, run: latency, rounds: 3, weight: 3,
	}, {
		name: "latency_default", what: "the same beside a River that is left as it comes", unit: "ms", lower: true,
		figures: []string{"latency_default", "latency_default_p99"}, run: latency, rounds: 1,
	}}
}

func latency(ctx context.Context, p *plan, c contender) (s sample, err error) {
	n := int(p.seconds(20, 3) / pace)
	count := newCounter(n)
	var mu sync.Mutex
	var took []float64
	stop, err := atWork(ctx, c, func(a args) {
		d := time.Since(time.Unix(0, a.Sent))
		mu.Lock()
		took = append(took, float64(d.Microseconds())/1000)
		mu.Unlock()
		count.handle(a)
	})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	s, err = timed(c, n, func() error {
		t := time.NewTicker(pace)
		defer t.Stop()
		for range n {
			select {
			case <-t.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := c.insert(ctx, newArgs()); err != nil {
				return err
			}
		}
		return count.finished(ctx, c)
	}, nothing)
	if err == nil {
		mu.Lock()
		defer mu.Unlock()
		s.values = []float64{quantile(took, 0.5), quantile(took, 0.99)}
	}
	return s, err
}

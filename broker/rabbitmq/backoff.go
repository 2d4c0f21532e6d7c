package rabbitmq

import (
	"context"
	"crypto/rand"
	"math/big"
	"sync"
	"time"
)

const (
	// backoffLeast and backoffMost bound the pause before a connection attempt.
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 15 * time.Second
	// deafMost bounds it while nobody listens on the port, and after a connection that stood: being turned
	// away by the operating system costs nobody anything, and the broker is to be used soon after it has started.
	deafMost = 2 * time.Second
	// slowLeast and slowMost bound the pause after a refusal that only a person can mend.
	slowLeast = 5 * time.Second
	slowMost  = 20 * time.Second
	// attemptsPerSecond is the most that both connections of a process try together.
	attemptsPerSecond = 2
)

// backoff is the pause after the n-th failure in a row, n from 0: full jitter, so that a fleet
// does not come back in step.
func backoff(n int, most time.Duration) time.Duration {
	return between(backoffLeast, min(most, backoffLeast<<min(n+1, 20)))
}

// slowDelay is the pause after the n-th refusal in a row, n from 0.
func slowDelay(n int) time.Duration {
	d := min(slowMost, slowLeast<<min(n, 10))
	return between(d, d+d/5)
}

// between is a random duration in [lo, hi).
func between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	n, err := rand.Int(rand.Reader, big.NewInt(int64(hi-lo)))
	if err != nil {
		return hi // no randomness: the longest wait is the polite one
	}
	return lo + time.Duration(n.Int64())
}

// shuffle puts list into a random order.
func shuffle[T any](list []T) {
	for i := len(list) - 1; i > 0; i-- {
		j := int(between(0, time.Duration(i+1)))
		list[i], list[j] = list[j], list[i]
	}
}

// pace admits attemptsPerSecond connection attempts in any second.
type pace struct {
	mu   sync.Mutex
	last [attemptsPerSecond]time.Time // the latest attempts admitted, oldest first
}

// wait waits for a turn.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	at := p.last[0].Add(time.Second)
	if at.Before(now) {
		at = now
	}
	copy(p.last[:], p.last[1:])
	p.last[attemptsPerSecond-1] = at
	p.mu.Unlock()
	return pause(ctx, at.Sub(now))
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

package worker

import (
	"math/rand/v2"
	"time"
)

// DefaultBackoff is the ladder of minutes that jobs climb by default: 1, 2, 4, 8, 16, 16, …, each
// ±10 %, so that what failed together does not come back together.
func DefaultBackoff(attempt int) time.Duration {
	return Jitter(Exponential(time.Minute, 16*time.Minute)(attempt), rand.Float64())
}

// Exponential doubles from first, up to limit. Attempts count from 1.
func Exponential(first, limit time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		d := first
		for i := 1; i < attempt && 0 < d && d < limit; i++ {
			if d > limit/2 {
				return limit // without doubling, which may overflow
			}
			d *= 2
		}
		return min(d, limit)
	}
}

// Steps uses the given delays in turn and stays at the last one. Without any there is no delay.
func Steps(delays ...time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		if len(delays) == 0 {
			return 0
		}
		return delays[min(max(attempt, 1), len(delays))-1]
	}
}

// Jitter moves d by up to 10 % either way; r is in [0, 1).
func Jitter(d time.Duration, r float64) time.Duration {
	return d + time.Duration((2*r-1)*0.1*float64(d))
}

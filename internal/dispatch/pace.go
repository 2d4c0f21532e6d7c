package dispatch

import "time"

// pace measures how fast slots take work and how long a claim lasts. Their product is how many
// jobs will be handed out before the next claim is back: claiming that many ahead keeps slots with
// quick handlers busy, and is nothing when handlers are slow.
type pace struct {
	rate  float64 // jobs a second, smoothed
	claim float64 // seconds a claim takes, smoothed

	since time.Time
	count int
}

// maxAhead bounds what a process holds without running it.
const maxAhead = 500

// window is how long hand-outs are counted before the rate is looked at.
const window = 10 * time.Millisecond

func (p *pace) handedOut(now time.Time) {
	if p.since.IsZero() {
		p.since = now
	}
	p.count++
	if d := now.Sub(p.since); d >= window {
		p.rate = smooth(p.rate, float64(p.count)/d.Seconds())
		p.since, p.count = now, 0
	}
}

func (p *pace) claimTook(d time.Duration) { p.claim = smooth(p.claim, d.Seconds()) }

// stalled forgets the rate: what was claimed ahead was not taken.
func (p *pace) stalled() { p.rate, p.since, p.count = 0, time.Time{}, 0 }

func (p *pace) ahead() int {
	if time.Since(p.since) > time.Second {
		return 0 // nothing was handed out of late
	}
	return min(int(2*p.rate*p.claim), maxAhead)
}

func smooth(old, sample float64) float64 {
	if old == 0 {
		return sample
	}
	return 0.7*old + 0.3*sample
}

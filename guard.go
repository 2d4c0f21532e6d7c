package warren

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Guards say when jobs may begin. They are asked after a job was claimed and before its middleware and
// handler, in the order of the fields: breakers, locks, rate limits. A job that may not begin is put aside
// (WAITING) and uses up no attempt. All of them are kept in the database, so that they hold over any number
// of consumers; a kind without guards costs no statement more. Hooks and events surround them, as they do the
// handler: an attempt that may not begin ends with an error of Wait.
//
// Registry.Guard guards every kind of a consumer, KindOpts.Guards one kind.
type Guards struct {
	Breakers   []Breaker
	Locks      []Lock
	RateLimits []RateLimit
}

// Limit is so much in a time. The zero value is no limit.
type Limit struct {
	Rate int           // jobs, or the sum of their costs, within Per
	Per  time.Duration // at most 366 days; at least 10 µs a job
	// Burst is how many may begin at once after a quiet time. Default: Rate. In any time span at most
	// Burst + span × Rate/Per begin.
	Burst int
}

// PerSecond is a limit of n a second, with a burst of n.
func PerSecond(n int) Limit { return Limit{Rate: n, Per: time.Second} }

// PerMinute is a limit of n a minute, with a burst of n.
func PerMinute(n int) Limit { return Limit{Rate: n, Per: time.Minute} }

// PerHour is a limit of n an hour, with a burst of n.
func PerHour(n int) Limit { return Limit{Rate: n, Per: time.Hour} }

// PerDay is a limit of n in 24 hours, with a burst of n.
func PerDay(n int) Limit { return Limit{Rate: n, Per: 24 * time.Hour} }

// WithBurst is the same limit with another burst.
func (l Limit) WithBurst(n int) Limit {
	l.Burst = n
	return l
}

// RateLimit lets only so many jobs begin in a time. Each job that has to wait is given a moment of its own at
// which the limit has room for it, and comes back once, then: jobs that wait do not compete. When
// consumers were away meanwhile, the limit still holds. Several limits of one job are asked in their order,
// and what an earlier one has given is used up when a later one refuses; put the narrow one first.
type RateLimit struct {
	// Name is the limit's own, 1 to 100 bytes. The same name elsewhere, in any kind or program, is the
	// same limit, and should say the same.
	Name  string
	Limit Limit
	// LimitOf gives the limit of a job, instead of Limit. It may change at any time, and be the zero
	// Limit for a job without one.
	LimitOf func(job *jobstore.Job) Limit
	// Key splits the limit: each key has all of it. A long one, and any one of a kind whose args are encrypted, is
	// kept as its digest. nil = one for all.
	Key func(job *jobstore.Job) string
	// Cost is how much of the limit a job takes; default 1. One that costs 0 or less is not asked
	// about, and one that costs more than the burst takes all of that.
	Cost func(job *jobstore.Job) int
	// Drop ends a job as FINISHED, with the reason kept, instead of letting it wait.
	Drop bool
}

// Lock lets only so many jobs run at a time, over all consumers, whatever their kinds. It differs from a
// serial group in that it keeps no order, and may have more than one place.
//
// A place belongs to the lease of its job and ends with it, so that there is no time to choose after which it
// expires: it holds for as long as the handler's process renews its lease.
type Lock struct {
	// Name and Key are as in RateLimit.
	Name string
	Key  func(job *jobstore.Job) string
	// Places are how many jobs may run at a time. Default 1.
	Places int
	// Retry is when a job that got no place asks again, at the latest, ±10 %. Mostly it goes on earlier,
	// when a place becomes free. Default 10 s; at least 10 ms.
	Retry time.Duration
	// Skip ends a job as FINISHED, with the reason kept, instead of letting it wait.
	Skip bool
}

// Breaker puts jobs aside when what they need is broken: after Errors failures within Within it is open,
// and for Cooldown no job begins. Then one job at a time tries; when that goes well the breaker is closed, and
// when it fails it is open for another Cooldown. Consumers learn of it within a second.
type Breaker struct {
	// Name and Key are as in RateLimit.
	Name string
	Key  func(job *jobstore.Job) string
	// Errors within Within open it. Default 10 in a minute.
	Errors int
	Within time.Duration
	// Cooldown is how long it is open. Default: Within. At least 10 ms.
	Cooldown time.Duration
	// When says which errors count. Default: those after which a job would be tried again, panics
	// and timeouts among them. What our own shutdown has interrupted never counts.
	When func(err error) bool
	// Changed is called when this process has opened the breaker (true, with the last error) or closed
	// it. It must return soon.
	Changed func(key string, open bool, err error)
}

// What guards wait by default.
const (
	defaultLockRetry     = 10 * time.Second
	defaultBreakerErrors = 10
	defaultBreakerWithin = time.Minute
	leastPause           = 10 * time.Millisecond
	leastStep            = 10 * time.Microsecond
	mostPer              = 366 * 24 * time.Hour
	mostBurst            = 1_000_000_000
	maxGuardName         = 100
)

// Guard adds guards to every kind, asked before those of the kind itself.
func (r *Registry) Guard(g Guards) {
	r.err = errors.Join(r.err, g.Validate())
	r.guards = r.guards.and(g)
}

func (g Guards) and(more Guards) Guards {
	return Guards{
		Breakers:   slices.Concat(g.Breakers, more.Breakers),
		Locks:      slices.Concat(g.Locks, more.Locks),
		RateLimits: slices.Concat(g.RateLimits, more.RateLimits),
	}
}

// Validate says what is wrong with guards, as NewConsumer would.
func (g Guards) Validate() error {
	var errs []error
	for _, l := range g.RateLimits {
		errs = append(errs, l.validate())
	}
	for _, l := range g.Locks {
		errs = append(errs, l.validate())
	}
	for _, b := range g.Breakers {
		errs = append(errs, b.validate())
	}
	return errors.Join(errs...)
}

func checkGuardName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a %s has no name; the name is what makes it the same in all programs", what)
	case len(name) > maxGuardName:
		return fmt.Errorf("the name of %s %.40q… has %d bytes; at most %d are allowed", what, name, len(name), maxGuardName)
	}
	return checkLabel("the name of "+what, name)
}

func (l RateLimit) validate() error {
	if err := checkGuardName("a rate limit", l.Name); err != nil {
		return err
	}
	if l.LimitOf != nil {
		if l.Limit != (Limit{}) {
			return fmt.Errorf("rate limit %s has both Limit and LimitOf; use one", l.Name)
		}
		return nil
	}
	if l.Limit == (Limit{}) {
		return fmt.Errorf("rate limit %s has no Limit; use PerSecond(50), say, or LimitOf", l.Name)
	}
	if err := l.Limit.validate(); err != nil {
		return fmt.Errorf("rate limit %s: %w", l.Name, err)
	}
	return nil
}

func (l Limit) validate() error {
	switch {
	case l == (Limit{}):
		return nil
	case l.Rate < 1:
		return fmt.Errorf("a rate of %d lets nothing begin; use at least 1, and pause the queue to let nothing run", l.Rate)
	case l.Per <= 0 || l.Per > mostPer:
		return fmt.Errorf("a rate per %s is none; use more than 0 and at most %s", l.Per, mostPer)
	case l.Per/time.Duration(l.Rate) < leastStep:
		return fmt.Errorf("%d per %s is more than one in %s, which is no limit for a database; leave it out", l.Rate, l.Per, leastStep)
	case l.Burst < 0 || l.Burst > mostBurst:
		return fmt.Errorf("a burst of %d is outside of 0 (the rate) to %d", l.Burst, mostBurst)
	case float64(l.Burst)*float64(l.Per)/float64(l.Rate) > float64(10*mostPer):
		return fmt.Errorf("a burst of %d would fill up in more than ten years at %d per %s; use a smaller one", l.Burst, l.Rate, l.Per)
	}
	return nil
}

// String is as people say it: 50 per 1s.
func (l Limit) String() string { return fmt.Sprintf("%d per %s", l.Rate, l.Per) }

func (l Lock) validate() error {
	if err := checkGuardName("a lock", l.Name); err != nil {
		return err
	}
	switch {
	case l.Places < 0 || l.Places > 1_000_000:
		return fmt.Errorf("lock %s: %d places are outside of 1 to 1000000", l.Name, l.Places)
	case l.Retry != 0 && l.Retry < leastPause:
		return fmt.Errorf("lock %s: a retry after %s is too soon; use at least %s", l.Name, l.Retry, leastPause)
	case l.Retry > mostPer:
		return fmt.Errorf("lock %s: a retry after %s is too late; use at most %s", l.Name, l.Retry, mostPer)
	}
	return nil
}

func (b Breaker) validate() error {
	if err := checkGuardName("a breaker", b.Name); err != nil {
		return err
	}
	switch {
	case b.Errors < 0 || b.Errors > 1_000_000:
		return fmt.Errorf("breaker %s: %d errors are outside of 1 to 1000000", b.Name, b.Errors)
	case b.Within < 0 || b.Within > mostPer:
		return fmt.Errorf("breaker %s: errors within %s; use more than 0 and at most %s", b.Name, b.Within, mostPer)
	case b.Cooldown != 0 && b.Cooldown < leastPause || b.Cooldown > mostPer:
		return fmt.Errorf("breaker %s: a cooldown of %s; use %s to %s", b.Name, b.Cooldown, leastPause, mostPer)
	}
	return nil
}

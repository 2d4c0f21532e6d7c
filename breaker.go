package warren

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/argcheck"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// passages is what this process knows of a breaker's keys, so that a job seldom asks the database.
type passages struct {
	mu    sync.Mutex
	known map[string]passage
}

// passage is an answer and how long it may be used.
type passage struct {
	jobstore.Passage
	asked, until time.Time
}

// freshness is how long an answer is used: within it consumers learn that a breaker has opened.
const freshness = time.Second

// get returns what is known and not too old. Waits become shorter while it is kept.
func (p *passages) get(key string) (got jobstore.Passage, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	k, ok := p.known[key]
	if !ok || !now.Before(k.until) {
		return jobstore.Passage{}, false
	}
	if k.Wait > 0 {
		k.Wait = max(k.Wait-now.Sub(k.asked), leastPause)
	}
	return k.Passage, true
}

func (p *passages) put(key string, got jobstore.Passage) {
	if got.Probe {
		return // it is for one job
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) >= 10_000 {
		p.known = map[string]passage{} // to forget costs a question
	}
	now, use := time.Now(), freshness
	if got.Wait > 0 {
		use = min(use, got.Wait)
	}
	p.known[key] = passage{Passage: got, asked: now, until: now.Add(use)}
}

// broken asks a breaker before the handler, and tells it of failures, and of what a try came to. A job
// that goes well costs no statement while the breaker is closed, but for one a second and process.
func (g guarding) broken(b Breaker, next RawHandler) RawHandler {
	b.Errors, b.Within = cmp.Or(b.Errors, defaultBreakerErrors), cmp.Or(b.Within, defaultBreakerWithin)
	b.Cooldown = cmp.Or(b.Cooldown, max(b.Within, leastPause))
	var known passages
	return func(ctx context.Context, job *jobstore.Job) error {
		key := g.key(b.Name, b.Key, job)
		pass, ok := known.get(key)
		if !ok {
			var err error
			if pass, err = g.store.Enter(ctx, key, job.ID, job.LeaseNo); err != nil {
				return cannotAsk(ctx, err)
			}
			known.put(key, pass)
		}
		if pass.Wait > 0 {
			// What waits comes back spread over some time, not all at once.
			wait := pass.Wait + time.Duration(rand.Float64()*float64(b.Cooldown)/4)
			return Wait(wait, fmt.Errorf("breaker %s is open", key))
		}
		err := g.tried(ctx, func(err error) { g.report(ctx, &b, &known, key, job, pass.Probe, err) }, job, next)
		return err
	}
}

// tried calls the handler and tells how that ended, also by a panic.
func (g guarding) tried(ctx context.Context, tell func(err error), job *jobstore.Job, next RawHandler) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		if v := recover(); v != nil {
			tell(worker.NewPanicError(v))
			panic(v)
		}
		tell(errors.New("the handler ended its goroutine"))
	}()
	err = next(ctx, job)
	returned = true
	tell(err)
	return err
}

// report tells the database of an attempt, if there is anything to tell.
func (g guarding) report(ctx context.Context, b *Breaker, known *passages, key string, job *jobstore.Job, probe bool, err error) {
	if err != nil && !b.counts(ctx, err) || err == nil && !probe {
		return
	}
	failed := ""
	if err != nil {
		failed = cmp.Or(argcheck.Sanitize(fmt.Sprint(err), 1<<10), "an error without words")
	}
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	got, reportErr := g.store.Report(own, jobstore.Report{
		Name: key, ID: job.ID, LeaseNo: job.LeaseNo, Failed: failed, Threshold: b.Errors, Period: b.Within, Cooldown: b.Cooldown,
	})
	if reportErr != nil {
		g.log.Warn("could not tell a breaker of a failure", zap.String("breaker", key), zap.Error(reportErr))
		return
	}
	if got.Opened || got.Closed {
		known.put(key, jobstore.Passage{Wait: got.Wait})
		g.log.Warn("a breaker has changed", zap.String("breaker", key), zap.Bool("open", got.Opened), zap.Error(err))
		if b.Changed != nil {
			b.Changed(key, got.Opened, err)
		}
	}
}

// counts reports whether an error is one that the breaker is about.
func (b *Breaker) counts(ctx context.Context, err error) bool {
	if cause := worker.Cause(ctx); errors.Is(cause, ErrShutdown) || errors.Is(cause, ErrLeaseLost) {
		return false
	}
	if b.When != nil {
		return b.When(err)
	}
	_, again := errors.AsType[*worker.RetryAfterError](err)
	return again || !worker.Said(err)
}

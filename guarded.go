package warren

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// guarding asks the guards of jobs for one consumer.
type guarding struct {
	store    jobstore.Guard
	released func(refs []jobstore.Ref)
	log      *zap.Logger
	// hidden says that keys may be made of args that are encrypted, so that only their digests are stored and told.
	hidden bool
}

// wrap puts guards around a handler, so that the first of them is asked first.
func (g guarding) wrap(guards Guards, next RawHandler) RawHandler {
	if len(guards.RateLimits) > 0 {
		next = g.limited(guards.RateLimits, next)
	}
	for _, l := range slices.Backward(guards.Locks) {
		next = g.locked(l, next)
	}
	for _, b := range slices.Backward(guards.Breakers) {
		next = g.broken(b, next)
	}
	return next
}

// maxGuardKey is how many bytes a key has in the database.
const maxGuardKey = 255

// key joins a guard's name and a job's key. What does not fit, or is no text, is kept as its digest.
func (g guarding) key(name string, key func(job *jobstore.Job) string, job *jobstore.Job) string {
	if key == nil {
		return name
	}
	k := key(job)
	if g.hidden || len(name)+1+len(k) > maxGuardKey || !utf8.ValidString(k) || strings.ContainsRune(k, 0) {
		sum := sha256.Sum256([]byte(k))
		k = "sha256:" + hex.EncodeToString(sum[:])
	}
	return name + ":" + k
}

// cannotAsk puts a job aside because the database did not answer: no attempt is lost by that.
func cannotAsk(ctx context.Context, err error) error {
	if cause := worker.Cause(ctx); cause != nil {
		return cause
	}
	return Wait(around(5*time.Second), err)
}

// around is d ±10 %.
func around(d time.Duration) time.Duration { return worker.Jitter(d, rand.Float64()) }

// limitsNote is what a job that waits for rate limits carries in its metadata: which of them have counted
// it already. It is of the lease before the one under which it comes back; any later one counts anew.
type limitsNote struct {
	Lease int64    `json:"lease"`
	Keys  []string `json:"keys"`
}

const limitsNoteKey = "warren.limits"

// dueAt lists the limits that gave the job this moment.
func dueAt(job *jobstore.Job) []string {
	var note struct {
		Limits limitsNote `json:"warren.limits"`
	}
	if len(job.Metadata) == 0 || json.Unmarshal(job.Metadata, &note) != nil || note.Limits.Lease != job.LeaseNo-1 {
		return nil
	}
	return note.Limits.Keys
}

// limited asks rate limits.
func (g guarding) limited(limits []RateLimit, next RawHandler) RawHandler {
	var full fullBuckets
	return func(ctx context.Context, job *jobstore.Job) error {
		due := dueAt(job)
		asked := make([]string, 0, len(limits))
		for _, l := range limits {
			a, err := g.admission(&l, job)
			if err != nil {
				return err
			}
			if a.Step == 0 {
				continue
			}
			a.Due = slices.Contains(due, a.Key)
			asked = append(asked, a.Key)
			if l.Drop && full.known(a.Key) {
				return Skip(l.reason(a.Key))
			}
			got, err := g.store.Admit(ctx, []jobstore.Admission{a})
			switch {
			case err != nil:
				return cannotAsk(ctx, err)
			case got[0].Begin && got[0].Wait == 0:
			case got[0].Begin:
				if err := worker.Sleep(ctx, got[0].Wait); err != nil {
					return err
				}
			case l.Drop:
				full.note(a.Key, got[0].Wait)
				return Skip(l.reason(a.Key))
			default:
				return waitForLimit(ctx, job, asked, got[0].Wait, l.reason(a.Key))
			}
		}
		return next(ctx, job)
	}
}

// waitForLimit sends a job away until its moment, with a note by which it is known when it comes back.
func waitForLimit(ctx context.Context, job *jobstore.Job, asked []string, wait time.Duration, reason string) error {
	if err := SetMetadata(ctx, map[string]limitsNote{limitsNoteKey: {Lease: job.LeaseNo, Keys: asked}}); err != nil {
		return err
	}
	return Wait(wait, limitError(reason))
}

// limitError is why a job waits.
type limitError string

func (e limitError) Error() string { return string(e) }

func (l RateLimit) reason(key string) string { return fmt.Sprintf("rate limit %s is used up", key) }

// admission is what a job asks of the limit; without a Step it has nothing to ask.
func (g guarding) admission(l *RateLimit, job *jobstore.Job) (jobstore.Admission, error) {
	limit := l.Limit
	if l.LimitOf != nil {
		limit = l.LimitOf(job)
		if err := limit.validate(); err != nil {
			return jobstore.Admission{}, fmt.Errorf("rate limit %s: %w", l.Name, err)
		}
	}
	cost := 1
	if l.Cost != nil {
		cost = l.Cost(job)
	}
	if limit == (Limit{}) || cost <= 0 {
		return jobstore.Admission{}, nil
	}
	burst := limit.Burst
	if burst == 0 {
		burst = limit.Rate
	}
	one := float64(limit.Per) / float64(limit.Rate)
	return jobstore.Admission{
		Key: g.key(l.Name, l.Key, job), Step: time.Duration(one * float64(min(cost, burst))),
		Burst: time.Duration(one * float64(burst)), Drop: l.Drop,
	}, nil
}

// fullBuckets are limits that are known to have no room, so that jobs that would not wait are dropped
// without asking. Only this process's clock counts here, and only for as long as the database said.
type fullBuckets struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (f *fullBuckets) known(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.until[key])
}

func (f *fullBuckets) note(key string, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.until) >= 10_000 || f.until == nil {
		f.until = map[string]time.Time{} // to forget costs a question
	}
	// A store whose clock a test moves must be asked again.
	f.until[key] = time.Now().Add(min(wait, time.Second))
}

// locked asks for a place under a lock, and gives it back when the handler has returned. A handler that is
// left behind keeps it until its outcome is recorded: the place belongs to the lease.
func (g guarding) locked(l Lock, next RawHandler) RawHandler {
	retry := cmp.Or(l.Retry, defaultLockRetry)
	return func(ctx context.Context, job *jobstore.Job) error {
		ask := jobstore.Lock{
			Key: g.key(l.Name, l.Key, job), Places: max(l.Places, 1), ID: job.ID, LeaseNo: job.LeaseNo, Wait: !l.Skip,
		}
		got, err := g.store.Lock(ctx, []jobstore.Lock{ask})
		switch {
		case err != nil:
			return cannotAsk(ctx, err)
		case got[0]:
			defer g.unlock(ctx, ask)
			return next(ctx, job)
		case l.Skip:
			return Skip(fmt.Sprintf("lock %s is taken", ask.Key))
		}
		return Wait(around(retry), fmt.Errorf("lock %s is taken", ask.Key))
	}
}

// unlock lets the next job that waits go on. When that fails it goes on by itself: the place is free as
// soon as the outcome is recorded, and the job asks again.
func (g guarding) unlock(ctx context.Context, held jobstore.Lock) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	refs, err := g.store.Unlock(ctx, []jobstore.Lock{held})
	if err != nil {
		g.log.Debug("could not give a lock back; it ends with the lease", zap.String("lock", held.Key), zap.Error(err))
	} else if len(refs) > 0 {
		g.released(refs)
	}
}

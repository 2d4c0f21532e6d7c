package worker

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// Returner is what handing back needs of a store.
type Returner interface {
	Return(ctx context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) ([]jobstore.Ref, error)
}

// callTimeout bounds one call of the database: a little more than the database itself allows a
// statement. A connection into a black hole would otherwise hold its caller for minutes.
const callTimeout = 5 * time.Second

// Returns hands back the rows of lost terms, so that they need not wait for a rescue, and without
// the crash that a rescue counts.
//
// A lease is mostly lost because the database is away, so it goes on trying: the sweep waits for
// one TTL after an outage before it rescues, and this is what it waits for.
type Returns struct {
	store    Returner
	released func(refs []jobstore.Ref)
	log      *zap.Logger

	mu      sync.Mutex
	waiting map[jobstore.HolderID]map[jobstore.ID]int64
	more    chan struct{} // holds one token while there may be something waiting
}

// NewReturns prepares it; Run does the work. released takes what may be announced again.
func NewReturns(store Returner, released func(refs []jobstore.Ref), log *zap.Logger) *Returns {
	return &Returns{
		store: store, released: released, log: log,
		waiting: map[jobstore.HolderID]map[jobstore.ID]int64{}, more: make(chan struct{}, 1),
	}
}

// Add takes leases of a lost term over. It never blocks.
func (r *Returns) Add(by jobstore.HolderID, leases map[jobstore.ID]int64) {
	if len(leases) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keep(by, leases)
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// keep puts leases among those that wait. A higher lease number is the newer one.
func (r *Returns) keep(by jobstore.HolderID, leases map[jobstore.ID]int64) {
	of := r.waiting[by]
	if of == nil {
		of = make(map[jobstore.ID]int64, len(leases))
		r.waiting[by] = of
	}
	for id, lease := range leases {
		of[id] = max(of[id], lease)
	}
}

// Run hands back until ctx ends, then tries once more.
func (r *Returns) Run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		select {
		case <-r.more:
		case <-ctx.Done():
		}
		for r.once(ctx) != nil && ctx.Err() == nil {
			pause = min(max(2*pause, 50*time.Millisecond), time.Second)
			_ = Sleep(ctx, pause) // the loop looks at ctx
		}
		pause = 0
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout/2)
	defer cancel()
	if err := r.once(last); err != nil {
		r.log.Info("could not hand jobs back after their lease was lost; the sweep rescues them", zap.Error(err))
	}
}

// once tries to hand back everything that waits, and keeps what it could not.
func (r *Returns) once(ctx context.Context) error {
	r.mu.Lock()
	all := r.waiting
	r.waiting = map[jobstore.HolderID]map[jobstore.ID]int64{}
	r.mu.Unlock()
	var failed error
	for by, leases := range all {
		if failed == nil {
			failed = r.one(ctx, by, leases)
		}
		if failed != nil {
			r.mu.Lock()
			r.keep(by, leases)
			r.mu.Unlock()
		}
	}
	return failed
}

func (r *Returns) one(ctx context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	refs, err := r.store.Return(ctx, by, leases)
	if err == nil && len(refs) > 0 && r.released != nil {
		r.released(refs)
	}
	return err
}

package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// What jobs ask at the same moment shares a statement. One flight a verb: a second one would mostly wait
// for the rows of the first.
const (
	guardFlights   = 1
	guardBatchRows = 500
)

// guards are the batches of the verbs that are asked for every job of a guarded kind.
type guards struct {
	admit  *batcher[jobstore.Admission, jobstore.Admitted]
	lock   *batcher[jobstore.Lock, bool]
	unlock *batcher[jobstore.Lock, []jobstore.Ref]
}

func newGuards(s *Store) guards {
	return guards{
		admit:  newBatcher(s.admitBatch, guardFlights, guardBatchRows),
		lock:   newBatcher(s.lockBatch, guardFlights, guardBatchRows),
		unlock: newBatcher(s.unlockBatch, guardFlights, guardBatchRows),
	}
}

func (g *guards) wait() {
	g.admit.wait()
	g.lock.wait()
	g.unlock.wait()
}

const admitSQL = `-- warren: admit
SELECT n, begins, wait FROM @schema@.job_admit($1, $2, $3, $4, $5)`

// Admit implements jobstore.Guard.
func (s *Store) Admit(ctx context.Context, asked []jobstore.Admission) ([]jobstore.Admitted, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	out, err := s.guards.admit.do(ctx, asked)
	if err != nil {
		return nil, wrap("ask a rate limit", err)
	}
	return out, nil
}

func (s *Store) admitBatch(ctx context.Context, asked []jobstore.Admission) ([]jobstore.Admitted, error) {
	n := len(asked)
	keys, steps, bursts, dues, drops := make([]string, n), make([]int64, n), make([]int64, n), make([]bool, n), make([]bool, n)
	for i, a := range asked {
		keys[i], steps[i], bursts[i], dues[i], drops[i] = a.Key, a.Step.Microseconds(), a.Burst.Microseconds(), a.Due, a.Drop
	}
	out := make([]jobstore.Admitted, n)
	err := s.do(ctx, admitSQL, []any{keys, steps, bursts, dues, drops}, nil, func(r pgx.Rows) error {
		var at, wait int64
		var begins bool
		if err := r.Scan(&at, &begins, &wait); err != nil {
			return err
		}
		out[at-1] = jobstore.Admitted{Begin: begins, Wait: time.Duration(wait) * time.Microsecond}
		return nil
	})
	return out, err
}

const lockSQL = `-- warren: lock
SELECT n, got FROM @schema@.job_lock($1, $2, $3, $4, $5)`

// Lock implements jobstore.Guard.
func (s *Store) Lock(ctx context.Context, asked []jobstore.Lock) ([]bool, error) {
	if len(asked) == 0 {
		return nil, nil
	}
	out, err := s.guards.lock.do(ctx, asked)
	if err != nil {
		return nil, wrap("ask for a lock", err)
	}
	return out, nil
}

func (s *Store) lockBatch(ctx context.Context, asked []jobstore.Lock) ([]bool, error) {
	n := len(asked)
	keys, places, ids, leases, waits := make([]string, n), make([]int32, n), make([]int64, n), make([]int64, n), make([]bool, n)
	for i, a := range asked {
		keys[i], places[i], ids[i], leases[i], waits[i] = a.Key, clamp(a.Places), int64(a.ID), a.LeaseNo, a.Wait
	}
	out := make([]bool, n)
	err := s.do(ctx, lockSQL, []any{keys, places, ids, leases, waits}, nil, func(r pgx.Rows) error {
		var at int64
		var got bool
		if err := r.Scan(&at, &got); err != nil {
			return err
		}
		out[at-1] = got
		return nil
	})
	return out, err
}

const unlockSQL = `-- warren: unlock
SELECT id, queue, priority FROM @schema@.job_unlock($1, $2, $3)`

// Unlock implements jobstore.Guard.
func (s *Store) Unlock(ctx context.Context, held []jobstore.Lock) ([]jobstore.Ref, error) {
	if len(held) == 0 {
		return nil, nil
	}
	out, err := s.guards.unlock.do(ctx, held)
	if err != nil {
		return nil, wrap("give a lock back", err)
	}
	var refs []jobstore.Ref
	for _, some := range out {
		refs = append(refs, some...)
	}
	return refs, nil
}

// unlockBatch gives all of a batch's jobs to its first caller: whoever announces them is one process.
func (s *Store) unlockBatch(ctx context.Context, held []jobstore.Lock) ([][]jobstore.Ref, error) {
	n := len(held)
	keys, ids, leases := make([]string, n), make([]int64, n), make([]int64, n)
	for i, h := range held {
		keys[i], ids[i], leases[i] = h.Key, int64(h.ID), h.LeaseNo
	}
	refs, err := gather(ctx, s, unlockSQL, scanRef, keys, ids, leases)
	out := make([][]jobstore.Ref, n)
	out[0] = refs
	return out, err
}

const enterSQL = `-- warren: enter a breaker
SELECT wait, probe FROM @schema@.job_breaker_enter($1, $2, $3)`

// Enter implements jobstore.Guard.
func (s *Store) Enter(ctx context.Context, name string, id jobstore.ID, leaseNo int64) (jobstore.Passage, error) {
	got, err := gather(ctx, s, enterSQL, func(r pgx.Rows) (p jobstore.Passage, err error) {
		var wait int64
		err = r.Scan(&wait, &p.Probe)
		p.Wait = time.Duration(wait) * time.Microsecond
		return p, err
	}, name, id, leaseNo)
	if err != nil {
		return jobstore.Passage{}, wrap("ask breaker "+name, err)
	}
	return got[0], nil
}

const reportSQL = `-- warren: report to a breaker
SELECT opened, closed, wait FROM @schema@.job_breaker_report($1, $2, $3, $4, $5, $6, $7)`

// Report implements jobstore.Guard.
func (s *Store) Report(ctx context.Context, r jobstore.Report) (jobstore.Breaker, error) {
	got, err := gather(ctx, s, reportSQL, func(row pgx.Rows) (b jobstore.Breaker, err error) {
		var wait int64
		err = row.Scan(&b.Opened, &b.Closed, &wait)
		b.Wait = time.Duration(wait) * time.Microsecond
		return b, err
	}, r.Name, r.ID, r.LeaseNo, optional(r.Failed), clamp(r.Threshold), r.Period.Microseconds(), r.Cooldown.Microseconds())
	if err != nil {
		return jobstore.Breaker{}, wrap("report to breaker "+r.Name, err)
	}
	return got[0], nil
}

// retainGuardsSQL forgets full buckets, breakers that nobody has reported to for a day, places of leases
// that have ended and waits of jobs that went on without their place.
const retainGuardsSQL = `-- warren: retain guards
WITH buckets AS (
  DELETE FROM @schema@.job_limits WHERE key IN (
    SELECT key FROM @schema@.job_limits WHERE planned < now() - interval '1 minute' LIMIT $1 FOR UPDATE SKIP LOCKED)
), breakers AS (
  DELETE FROM @schema@.job_breakers WHERE open_until IS NULL AND since < now() - interval '1 day'
)
DELETE FROM @schema@.job_locks WHERE (key, job_id) IN (
  SELECT l.key, l.job_id FROM @schema@.job_locks l
  WHERE NOT EXISTS (SELECT FROM @schema@.jobs_live j
                    WHERE j.id = l.job_id AND (NOT l.held OR j.lease_no = l.lease_no AND j.state || '' = 'PROCESSING'))
  LIMIT $1 FOR UPDATE OF l SKIP LOCKED)`

package warrentest

import (
	"context"
	"fmt"
	"sync"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/sqlite"
)

// inline is a store that runs what was published before it says so.
type inline struct {
	*sqlite.Store

	env *Env

	mu   sync.Mutex
	open map[any][]jobstore.Inserted // by transaction: what runs when it has committed
}

func newInline(e *Env) *inline {
	return &inline{Store: e.store, env: e, open: map[any][]jobstore.Inserted{}}
}

// Insert implements jobstore.Inserter.
func (s *inline) Insert(ctx context.Context, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	done, err := s.Store.Insert(ctx, jobs)
	if err != nil {
		return nil, err
	}
	return done, s.env.run(ctx, done)
}

// InsertOnce implements jobstore.Requester.
func (s *inline) InsertOnce(ctx context.Context, r jobstore.Request, jobs []jobstore.NewJob) ([]jobstore.Inserted, bool, error) {
	done, again, err := s.Store.InsertOnce(ctx, r, jobs)
	if err != nil {
		return nil, again, err
	}
	return done, again, s.env.run(ctx, done)
}

// InsertFlow implements jobstore.Flows: the first jobs run, and with them all that they release.
func (s *inline) InsertFlow(ctx context.Context, f jobstore.NewFlow) (jobstore.StepID, []jobstore.Ref, error) {
	id, refs, err := s.Store.InsertFlow(ctx, f)
	if err != nil {
		return id, refs, err
	}
	first := make([]jobstore.Inserted, len(refs))
	for i, ref := range refs {
		first[i] = jobstore.Inserted{Ref: ref}
	}
	return id, refs, s.env.run(ctx, first)
}

// InsertTx implements jobstore.Inserter. Only a transaction of InTx reaches a database in memory.
func (s *inline) InsertTx(ctx context.Context, tx jobstore.Tx, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	done, err := s.Store.InsertTx(ctx, tx, jobs)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open[tx.Handle] = append(s.open[tx.Handle], done...)
	}
	return done, err
}

// InTx implements jobstore.Inserter. What was published in the transaction runs after its commit.
func (s *inline) InTx(ctx context.Context, fn func(ctx context.Context, tx jobstore.Tx) error) error {
	var handle any
	err := s.Store.InTx(ctx, func(ctx context.Context, tx jobstore.Tx) error {
		handle = tx.Handle
		return fn(ctx, tx)
	})
	s.mu.Lock()
	done := s.open[handle]
	delete(s.open, handle)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.env.run(ctx, done)
}

// run drains, and then waits for those of the jobs that somebody else's drain has taken.
func (e *Env) run(ctx context.Context, jobs []jobstore.Inserted) error {
	if len(jobs) == 0 {
		return nil
	}
	// A publisher that gives up does not end what others wait for.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.Patience)
	defer cancel()
	if _, err := e.drain(ctx); err != nil {
		return err
	}
	ours := jobstore.Filter{States: []jobstore.State{jobstore.Processing}, Limit: 1}
	for _, job := range jobs {
		ours.IDs = append(ours.IDs, job.ID)
	}
	for {
		ended := e.nextEnd() // before the look, so that no end falls between
		running, err := e.store.List(ctx, ours)
		if err != nil || len(running) == 0 {
			return err
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("job %d of kind %s still runs after %s", running[0].ID, running[0].Kind, e.opts.Patience)
		}
	}
}

// nextEnd is closed when the next attempt has ended.
func (e *Env) nextEnd() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ended
}

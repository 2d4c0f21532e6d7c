package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// watchEvery is how often a listener looks whether another connection has committed.
const watchEvery = 100 * time.Millisecond

// waking is who listens in this process.
type waking struct {
	mu        sync.Mutex
	listeners []*func()
}

func (w *waking) add(wake func()) (remove func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listeners = append(w.listeners, &wake)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.listeners = slices.DeleteFunc(w.listeners, func(l *func()) bool { return l == &wake })
	}
}

func (w *waking) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.listeners {
		(*l)()
	}
}

// Wake implements jobstore.Waker. It reaches listeners of this store at once; those of other
// processes see the commit.
func (s *Store) Wake(_ context.Context, bands []jobstore.Band) error {
	if len(bands) > 0 {
		s.wakes.all()
	}
	return nil
}

// Listen implements jobstore.Waker. wake is called from other goroutines and must return at once.
// For other processes' commits it looks at the file's version ten times a second, which reads a
// few bytes of shared memory.
func (s *Store) Listen(ctx context.Context, wake func()) error {
	defer s.wakes.add(wake)()
	if s.readDB == nil { // in memory there are no other processes
		wake() // what was told before is not heard
		<-ctx.Done()
		return context.Cause(ctx)
	}
	address, err := dsn(s.path)
	if err != nil {
		return s.wrap("listen", err)
	}
	db, err := sql.Open("sqlite", address)
	if err != nil {
		return s.wrap("listen", err)
	}
	defer func() { _ = db.Close() }() // nothing is written with it
	conn, err := db.Conn(ctx)
	if err != nil {
		return s.wrap("connect to listen", err)
	}
	defer func() { _ = conn.Close() }()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for seen := int64(-1); ; {
		version, err := gather(ctx, direct{conn}, "PRAGMA data_version", scanInt)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return s.wrap("listen", err)
		case version[0] != seen: // the first time too: what was told before is not heard
			wake()
			seen = version[0]
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

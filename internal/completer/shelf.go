package completer

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// shelf holds outcomes that the database does not take at the moment, each by itself, while it takes others.
// It holds so many and no more: when everything fails, flights wait as well, and with them the slots.
type shelf struct {
	most  int
	mu    sync.Mutex
	items []shelved
	more  chan struct{} // holds one token when something was put there
}

// shelved is an outcome that is tried alone.
type shelved struct {
	entry
	pause time.Duration // before the next try
	next  time.Time
}

func newShelf(most int) *shelf { return &shelf{most: most, more: make(chan struct{}, 1)} }

// put reports whether there was room.
func (s *shelf) put(e shelved) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) >= s.most {
		return false
	}
	s.items = append(s.items, e)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return true
}

// first is whose turn is next; it stays on the shelf.
func (s *shelf) first() (e shelved, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 {
		return e, false
	}
	return slices.MinFunc(s.items, func(a, b shelved) int { return a.next.Compare(b.next) }), true
}

// change replaces what is on the shelf for an outcome, or takes it away.
func (s *shelf) change(e shelved, keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.items, func(other shelved) bool {
		return other.term == e.term && other.out.ID == e.out.ID && other.out.LeaseNo == e.out.LeaseNo
	})
	if keep {
		s.items[i] = e
	} else {
		s.items = slices.Delete(s.items, i, i+1)
	}
}

// clearShelf goes on with what is on the shelf, one after the other, until the flights have landed and nothing
// is left, or flush ends.
func (c *Completer) clearShelf(flush context.Context, landed <-chan struct{}) {
	for {
		e, ok := c.shelf.first()
		if !ok {
			select {
			case <-c.shelf.more:
			case <-landed:
				if _, ok := c.shelf.first(); !ok {
					return
				}
			}
			continue
		}
		wait := time.NewTimer(time.Until(e.next))
		select {
		case <-wait.C:
		case <-e.term.Context().Done():
		case <-flush.Done():
		}
		wait.Stop()
		if e.term.Alive() && flush.Err() == nil {
			c.tryShelved(flush, e)
			continue
		}
		c.shelf.change(e, false)
		c.giveUp(e.term, []entry{e.entry})
	}
}

func (c *Completer) tryShelved(ctx context.Context, e shelved) {
	err := c.try(ctx, e.term, []entry{e.entry})
	if err == nil {
		c.shelf.change(e, false)
		return
	}
	if errors.Is(err, jobstore.ErrInvalid) && hasContent(e.entry) {
		e.entry = c.bare(e.entry, err)
	}
	c.cfg.Log.Debug("could not record an outcome; trying again", zap.Int64("job_id", int64(e.out.ID)), zap.Error(err))
	e.pause = min(2*e.pause, longestPause)
	e.next = time.Now().Add(jitter(e.pause))
	c.shelf.change(e, true)
}

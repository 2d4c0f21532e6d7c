package sweeper

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// maxInterval is how rarely a band whose oldest row does not move is announced again, while the
// broker still holds messages of it.
const maxInterval = 15 * time.Minute

// A band is first in, first out, so a row whose hint was lost becomes its oldest sooner or later.
// Seeing the same oldest row twice is the sign; nothing is counted, and no row is written.
//
// It may also be of a kind that is paused, or that no living consumer has, with any number of such rows behind
// it: those are passed over, and the next round goes on where they ended.
type sighting struct {
	id       jobstore.ID
	passed   jobstore.ID // nobody could claim what is between id and this; 0 = not known
	interval time.Duration
	next     time.Time
}

type lostHints struct {
	seen map[jobstore.Band]*sighting
}

func newLostHints() lostHints { return lostHints{seen: map[jobstore.Band]*sighting{}} }

// Rows announced from a stuck oldest row on: few while the broker still holds messages of the band,
// because then most rows are probably among them; many when it holds none, because then all are lost.
const (
	announceSome = 500
	announceMany = 20_000
)

// lostHintsOnce looks at the oldest row of each band that has a living consumer.
func (s *Sweeper) lostHintsOnce(ctx context.Context) (time.Duration, error) {
	bands, err := s.cfg.Store.LiveBands(ctx)
	if err != nil {
		return 0, err
	}
	var oldest []jobstore.Ref
	if len(bands) > 0 {
		if oldest, err = s.cfg.Store.Oldest(ctx, bands); err != nil {
			return 0, err
		}
	}
	seen := make(map[jobstore.Band]*sighting, len(oldest))
	for _, ref := range oldest {
		was := s.hints.seen[ref.Band]
		if was == nil || was.id != ref.ID {
			seen[ref.Band] = &sighting{id: ref.ID, interval: s.cfg.LostHints}
			continue
		}
		seen[ref.Band] = was
		if time.Now().Before(was.next) {
			continue
		}
		if err := s.announceFrom(ctx, ref, was); err != nil {
			return 0, err
		}
	}
	s.hints.seen = seen
	return s.cfg.LostHints, nil
}

func (s *Sweeper) announceFrom(ctx context.Context, oldest jobstore.Ref, was *sighting) error {
	depth, err := s.cfg.Depth(ctx, oldest.Band)
	if err != nil {
		return nil //nolint:nilerr // without a broker there is nothing to compare with; the next round asks again
	}
	limit := announceMany
	if depth > 0 {
		limit = announceSome
	}
	total, done, err := s.announceClaimable(ctx, oldest, was, limit)
	if err != nil || !done {
		return err
	}
	if depth > 0 && total > 0 {
		was.interval = min(2*was.interval, maxInterval)
	} else {
		was.interval = s.cfg.LostHints
	}
	was.next = time.Now().Add(was.interval)
	if total > 0 {
		s.cfg.Log.Info("the oldest job of a band did not move; announced again from it",
			zap.String("queue", oldest.Queue), zap.Int("priority", oldest.Priority),
			zap.Int64("job_id", int64(oldest.ID)), zap.Int("jobs", total), zap.Int("messages_waiting", depth))
	}
	return nil
}

// announceClaimable announces about limit jobs of a band, from its oldest on. It looks at announceMany rows at most, and reports
// whether the broker took what it was given.
func (s *Sweeper) announceClaimable(ctx context.Context, oldest jobstore.Ref, was *sighting, limit int) (total int, done bool, err error) {
	from := oldest.ID
	for looked := 0; total < limit && looked < announceMany; {
		n := min(max(limit-total, announceSome), 5000, announceMany-looked)
		refs, next, err := s.cfg.Store.ReadyFrom(ctx, oldest.Band, from, n)
		if err != nil {
			return total, false, err
		}
		looked += n
		if len(refs) > 0 {
			if later, _ := s.tell(ctx, refs); len(later) > 0 {
				return total, false, nil // no row writes: the next round tries again
			}
			total += len(refs)
		}
		if total == 0 {
			if from == oldest.ID && next > 0 {
				next = max(next, was.passed)
			}
			was.passed = next
		}
		if next == 0 {
			break
		}
		from = next
	}
	if total > 0 {
		was.passed = 0 // by the next round there may be others before these
	}
	return total, true, nil
}

// idleHeads remembers the heads of serial groups that had nothing running, to announce one only when it
// was seen twice, and ever more rarely after that.
type idleHeads struct {
	seen map[jobstore.ID]*sighting
}

func newIdleHeads() idleHeads { return idleHeads{seen: map[jobstore.ID]*sighting{}} }

// maxHeads bounds one look at the heads of serial groups.
const maxHeads = 5000

// headsOnce announces heads whose hint was lost: between the end of one member and the announcing
// of the next a process may die.
func (s *Sweeper) headsOnce(ctx context.Context) (time.Duration, error) {
	heads, err := s.cfg.Store.Heads(ctx, maxHeads)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	seen := make(map[jobstore.ID]*sighting, len(heads))
	var lost []jobstore.Ref
	for _, ref := range heads {
		was := s.heads.seen[ref.ID]
		switch {
		case was == nil:
			was = &sighting{id: ref.ID, interval: s.cfg.Heads}
		case !now.Before(was.next):
			was.interval = min(2*was.interval, maxInterval)
			was.next = now.Add(was.interval)
			lost = append(lost, ref)
		}
		seen[ref.ID] = was
	}
	s.heads.seen = seen
	s.announce(ctx, lost)
	return s.cfg.Heads, nil
}

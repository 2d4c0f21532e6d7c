package sweeper_test

import (
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/internal/sweeper"
	"github.com/warrenq/warren/jobstore"
)

func TestAHintIsTakenForLostAtTheSecondSighting(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready = refs(5, 5), refs(5, 7)
		if next := r.once(r.s.LostHintsOnce); next != 10*time.Second {
			t.Errorf("the next look is in %s", next)
		}
		r.tells()
		r.once(r.s.LostHintsOnce)
		r.tells(5, 6, 7)
		r.noWrites()
	})
}

// rarely makes a sweeper whose ticks leave a test of many hours some time.
func (r *rig) rarely() {
	r.cfg.Tick = 10 * time.Second
	r.s = sweeper.New(r.cfg)
}

// noWrites checks that no row was written.
func (r *rig) noWrites() {
	r.t.Helper()
	if n := r.count("announced", "unannounced", "due"); n != 0 {
		r.t.Errorf("%d statements that write rows", n)
	}
}

func TestABandThatMovesIsLeftAlone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.ready = refs(1, 1000)
		for id := range jobstore.ID(20) {
			r.oldest = refs(id+1, id+1)
			r.once(r.s.LostHintsOnce)
		}
		r.oldest = nil // empty
		r.once(r.s.LostHintsOnce)
		r.oldest = refs(20, 20) // and back: a first sighting
		r.once(r.s.LostHintsOnce)
		r.tells()
		if n := r.count("depth", "ready from"); n != 0 {
			t.Errorf("%d questions about a backlog that moves", n)
		}
	})
}

func TestBandsWithoutALivingConsumerAreLeftAlone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.bands, r.oldest, r.ready = nil, refs(5, 5), refs(5, 5)
		r.once(r.s.LostHintsOnce)
		r.once(r.s.LostHintsOnce)
		r.tells()
		if n := r.count("oldest"); n != 0 {
			t.Errorf("%d looks at no bands", n)
		}
	})
}

func TestARowThatDoesNotMoveIsAnnouncedEverMoreRarelyWhileTheBrokerHasMessages(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready, r.depth = refs(5, 5), refs(5, 4000), 1
		r.rarely()
		r.start()
		pass(4 * time.Hour)
		if n := len(r.announced[0]); n != 500 {
			t.Errorf("%d announced at a time, want 500", n)
		}
		for i := range r.at[1:] {
			gap := r.at[i+1].Sub(r.at[i])
			want := min(20*time.Second<<min(i, 10), 15*time.Minute)
			if gap < want || gap > want+15*time.Second {
				t.Errorf("announcement %d came %s after the one before, want about %s", i+1, gap, want)
			}
		}
		if n := len(r.at); n < 15 || n > 30 {
			t.Errorf("%d announcements in four hours", n)
		}
		r.told()
		r.set(func() { r.oldest = refs(6, 6) }) // it moved: it is looked at closely again
		pass(35 * time.Second)
		if n := len(r.told()); n != 500 {
			t.Errorf("%d announced, want 500", n)
		}
		r.noWrites()
	})
}

// A kind that is paused keeps its rows at the beginning of a band, where nothing is lost; what is lost behind them is found.
func TestWhatNobodyMayClaimHidesNoLostHint(t *testing.T) {
	t.Parallel()
	for name, depth := range map[string]int{"the broker has messages": 1, "the broker has none": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.oldest, r.ready, r.depth = refs(5, 5), refs(5, 60_100), depth
				r.unclaimable = 60_001
				r.rarely()
				r.start()
				pass(15 * time.Second)
				if n := len(r.told()); n != 0 {
					t.Errorf("%d announced that nobody may claim", n)
				}
				pass(time.Minute)
				if got := r.told(); len(got) == 0 || len(got)%100 > 0 || slices.Min(got) != 60_001 {
					t.Errorf("%d announced within a minute, want the hundred that can be claimed, now and then", len(got))
				}
				r.set(func() { r.unclaimable = 0 }) // the kind goes on, and all of its hints are lost
				pass(time.Hour)
				if got := r.told(); len(got) == 0 || got[0] != 5 {
					t.Errorf("%d announced since the kind goes on, want them from the oldest on", len(got))
				}
				r.noWrites()
			})
		})
	}
}

// One job that can be claimed before many that cannot is one announcement and few looks.
func TestFewThatCanBeClaimedAreNotLookedForOneByOne(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready, r.depth = refs(5, 5), refs(5, 60_000), 1
		r.unclaimable, r.claimable = 60_001, 499
		r.once(r.s.LostHintsOnce)
		r.once(r.s.LostHintsOnce)
		if n, looks := len(r.told()), r.count("ready from"); n != 499 || looks > 41 {
			t.Errorf("%d announced after %d looks, want 499 after 40", n, looks)
		}
	})
}

func TestABrokerThatHasNothingIsFilledUpInBulk(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready = refs(5, 5), refs(5, 30_004)
		r.start()
		pass(12 * time.Second)
		if n := len(r.told()); n != 20_000 {
			t.Errorf("%d announced, want 20,000", n)
		}
		pass(20 * time.Second) // it is not held against the band that it was empty
		if n := len(r.told()); n < 20_000 {
			t.Errorf("%d announced within the next rounds, want 20,000 again", n)
		}
		r.noWrites()
	})
}

func TestARefusedAnnouncementIsRepeatedAtTheNextRound(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready, r.depth, r.deaf = refs(5, 5), refs(5, 5), 3, true
		for range 10 {
			r.once(r.s.LostHintsOnce)
			pass(10 * time.Second)
		}
		if n := len(r.told()); n != 9 {
			t.Errorf("%d tries in ten rounds, want one in each after the first", n)
		}
		r.noWrites()
	})
}

func TestWithoutAnAnswerAboutDepthNothingIsAnnounced(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.oldest, r.ready, r.depthErr = refs(5, 5), refs(5, 5), errAway
		for range 3 {
			r.once(r.s.LostHintsOnce)
		}
		r.tells()
		r.depthErr = nil
		r.once(r.s.LostHintsOnce)
		r.tells(5)
	})
}

func TestHeadsAreAnnouncedAtTheSecondSightingAndEverMoreRarely(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.heads = refs(7, 7)
		r.once(r.s.HeadsOnce)
		r.tells()
		r.once(r.s.HeadsOnce)
		r.tells(7)
		r.heads = nil // it runs
		r.once(r.s.HeadsOnce)
		r.heads = refs(7, 7) // and is back: a first sighting
		r.once(r.s.HeadsOnce)
		r.tells()

		r.rarely()
		r.start()
		pass(2 * time.Hour)
		if n := len(r.told()); n < 10 || n > 20 {
			t.Errorf("%d announcements of one head in two hours, want ever fewer", n)
		}
	})
}

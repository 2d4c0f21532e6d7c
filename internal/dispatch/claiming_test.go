package dispatch_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/internal/dispatch"
	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// first answers the first claim with an error and the others with nil.
func first(err error) func(n int) error {
	return func(n int) error {
		if n == 1 {
			return err
		}
		return nil
	}
}

func TestALostClaimReplyIsAskedForAgainWithTheSameToken(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.lose = first(errAway)
		r.brokered(10, 0)
		r.slot(2)
		r.hint(10, 1, 2)
		pass(time.Second)
		calls := r.claims()
		if len(calls) != 2 || calls[0].by.Again || !calls[1].by.Again || calls[0].by.Token != calls[1].by.Token ||
			calls[0].by.Token == 0 || !slices.Equal(calls[0].ids, calls[1].ids) {
			t.Errorf("claims %+v, want the second to repeat the first", calls)
		}
		r.gets(1, 2) // each once
		r.slot(1)
		r.hint(10, 3)
		synctest.Wait()
		if calls := r.claims(); len(calls) != 3 || calls[2].by.Again || calls[2].by.Token == calls[0].by.Token {
			t.Errorf("claims %+v, want the next to be a new one", calls)
		}
	})
}

func TestAFailedClaimIsTriedAgainWithGrowingPauses(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.before = func(n int) error {
			if n < 100 {
				return errAway
			}
			return nil
		}
		r.brokered(10, 0)
		r.slot(1)
		r.hint(10, 1)
		pass(time.Minute)
		if n := len(r.claims()); n < 20 || n > 80 {
			t.Errorf("%d claims in a minute without a database, want about one every one to three seconds", n)
		}
		pass(5 * time.Minute)
		r.gets(1)
		if got := r.read(); !slices.Equal(got[:2], []string{"claim [1]", "ack [1]"}) {
			t.Errorf("got %q, want no ack before the claim that worked", got)
		}
	})
}

func TestWhatALostReplyGrantedIsReleasedWhenItCannotBeUnderWay(t *testing.T) {
	t.Parallel()
	for name, brokered := range map[string]bool{"brokered": true, "polled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.lose = first(errAway)
				r.forget = true // the claim reached the database after it was asked about
				r.add(10, 1)
				if brokered {
					r.brokered(10, 0)
					r.hint(10, 1)
				} else {
					r.run(dispatch.NewPolledFeed(dispatch.PolledConfig{Claim: r.claim}))
				}
				r.slot(2)
				pass(time.Second)
				r.gets()
				r.hint(10, 2)
				pass(2 * time.Second)
				r.gets(2)
				if len(r.seen().known) != 0 {
					t.Error("released while the claim may be under way: it would be released and run")
				}
				pass(3 * time.Second)
				if len(r.seen().known) != 1 || !slices.Equal(r.seen().known[0], []jobstore.ID{2}) || !slices.Equal(r.seen().released, []jobstore.ID{1}) {
					t.Errorf("asked with %v known, released %v; want 2 and 1", r.seen().known, r.seen().released)
				}
				r.set(func() { // and once more, much later: nothing of it had arrived before
					token := r.calls[0].by.Token
					r.rows[3] = &row{priority: 10, holder: r.calls[0].by.Holder, token: token, lease: 1}
					r.rows[4] = &row{priority: 10, holder: r.calls[0].by.Holder, token: token + 1, lease: 1}
				})
				pass(30 * time.Second)
				if got := r.seen().released; !slices.Equal(got, []jobstore.ID{1, 3}) {
					t.Errorf("released %v, want 3, which turned up under the same token, and not 4, which was claimed by another", got)
				}
				pass(time.Hour)
				if n := len(r.seen().known); n < 3 || n > 6 {
					t.Errorf("asked %d times in an hour, want a few times in the first minutes", n)
				}
			})
		})
	}
}

// A consumer that is asked to stop keeps its lease for as long as its last handler runs, and after that its jobs are rescued,
// which counts as a crash of theirs.
func TestWhatALostReplyGrantedIsReleasedThoughTheConsumerStops(t *testing.T) {
	t.Parallel()
	for name, brokered := range map[string]bool{"brokered": true, "polled": false} {
		for end, after := range map[string]func(r *rig){
			"a handler still runs": func(r *rig) { r.feed.Drain(); pass(10 * time.Second) },
			"at once":              func(r *rig) { r.stop(); <-r.done },
		} {
			t.Run(name+", "+end, func(t *testing.T) {
				t.Parallel()
				bubble(t, func(r *rig) {
					r.lose = first(errAway)
					r.add(10, 1)
					if brokered {
						r.brokered(10, 0)
						r.hint(10, 1)
					} else {
						r.run(dispatch.NewPolledFeed(dispatch.PolledConfig{Claim: r.claim}))
					}
					r.slot(1)
					after(r)
					if got := r.seen().released; len(r.claims()) != 1 || !slices.Equal(got, []jobstore.ID{1}) {
						t.Errorf("%d claims, released %v; want what the first has granted", len(r.claims()), got)
					}
				})
			})
		}
	}
}

func TestAnOrdinaryClaimLeavesNoDoubt(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(2)
		r.hint(10, 1)
		pass(time.Hour)
		if len(r.seen().known) != 0 {
			t.Errorf("%d releases without a lost reply", len(r.seen().known))
		}
	})
}

func TestAGoneHolderEndsTheTermAndTheClaimGoesOnUnderTheNext(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.before = first(jobstore.ErrHolderGone)
		r.brokered(10, 0)
		old := r.term()
		r.slot(1)
		r.hint(10, 1)
		pass(10 * time.Second)
		works := r.gets(1)
		if old.Alive() {
			t.Error("the old term goes on")
		}
		calls := r.claims()
		last := calls[len(calls)-1].by
		if last.Holder == old.Holder || last.Again || last.Token == calls[0].by.Token || works[0].Term.Holder != last.Holder {
			t.Errorf("the last claim is by %+v, want a new holder with a token of its own", last)
		}
		if held := works[0].Term.Held(); !slices.Equal(held, []jobstore.ID{1}) {
			t.Errorf("the new term holds %v, want 1", held)
		}
	})
}

func TestAClaimThatHangsIsGivenUpAndRepeated(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.set(func() { r.gate = make(chan struct{}) })
		r.brokered(10, 0)
		r.slot(1)
		r.hint(10, 1)
		pass(4 * time.Second)
		r.set(func() { r.gate = nil })
		pass(2 * time.Second)
		r.gets(1)
		if calls := r.claims(); len(calls) != 2 || !calls[1].by.Again {
			t.Errorf("claims %+v, want the hung one repeated", calls)
		}
	})
}

func TestTheClaimantIsWhoTheConfigurationSays(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.brokered(10, 0)
		r.slot(1)
		r.hint(10, 1)
		if by := r.claims()[0].by; by.Host != "here" || !slices.Equal(by.Queues, []string{"q"}) || by.Holder != r.term().Holder {
			t.Errorf("claimed by %+v", by)
		}
	})
}

// working runs slots whose nth job takes some time, and returns a look at what they have taken.
func (r *rig) working(slots int, takes func(nth int) time.Duration) (taken func() []jobstore.ID) {
	ctx, cancel := context.WithCancel(r.t.Context())
	var all []jobstore.ID
	for range slots {
		r.slots.Go(func() {
			for {
				w, err := r.feed.Next(ctx)
				if err != nil {
					return
				}
				w.Term.Drop(w.Lease.Job.ID, w.Lease.Job.LeaseNo)
				n := 0
				r.set(func() { all = append(all, w.Lease.Job.ID); n = len(all) })
				_ = worker.Sleep(ctx, takes(n))
			}
		})
	}
	r.t.Cleanup(func() { cancel(); r.slots.Wait() })
	return func() (out []jobstore.ID) {
		r.set(func() { out = slices.Clone(all) })
		return out
	}
}

// ahead makes a feed with 600 jobs and a store whose claims take a while, so that quick handlers
// are claimed ahead for.
func (r *rig) ahead(brokered bool) {
	r.takes = 10 * time.Millisecond
	if brokered {
		r.brokered(200, 0)
	} else {
		r.run(dispatch.NewPolledFeed(dispatch.PolledConfig{Claim: r.claim}))
	}
	for id := int64(1); id <= 600; id += 10 {
		r.hint(10, id, id+1, id+2, id+3, id+4, id+5, id+6, id+7, id+8, id+9)
	}
}

func TestWhatWasClaimedAheadIsHandedBackWhenNoSlotTakesIt(t *testing.T) {
	t.Parallel()
	for name, brokered := range map[string]bool{"brokered": true, "polled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.ahead(brokered)
				taken := r.working(2, func(nth int) time.Duration {
					if nth >= 300 { // all handlers get slow at once
						return time.Hour
					}
					return time.Millisecond
				})
				pass(5 * time.Second)
				most := 0
				for _, c := range r.claims() {
					most = max(most, c.n, len(c.ids))
				}
				if most <= 2 {
					t.Errorf("the largest claim is %d, want more than slots: quick handlers starve", most)
				}
				back := r.seen().back
				if len(back) == 0 || len(r.term().Held()) != 0 {
					t.Errorf("%d handed back, %d held; want what was claimed ahead", len(back), len(r.term().Held()))
				}
				for _, id := range taken() {
					if slices.Contains(back, id) {
						t.Fatalf("job %d was taken and handed back", id)
					}
				}
			})
		})
	}
}

func TestWhatWasClaimedAheadStaysWhileSlotsTakeIt(t *testing.T) {
	t.Parallel()
	for name, brokered := range map[string]bool{"brokered": true, "polled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.ahead(brokered)
				taken := r.working(2, func(nth int) time.Duration {
					if nth >= 300 {
						return 200 * time.Millisecond // slower, but they go on
					}
					return time.Millisecond
				})
				pass(5 * time.Second)
				if back := r.seen().back; len(back) != 0 || len(taken()) < 330 {
					t.Errorf("%v handed back after %d were taken; want none, slots take one every 100 ms", back, len(taken()))
				}
			})
		})
	}
}

// The sweep takes a row out of the outbox at the moment its hint arrives, and the claim finds it locked.
func TestARowThatSomebodyHasLockedIsAskedForAgainBeforeItsHintIsAcked(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.locked = map[jobstore.ID]int{2: 1}
		r.brokered(10, 0)
		r.slot(3)
		r.hint(10, 1, 2, 3)
		pass(100 * time.Millisecond)
		r.gets(1, 2, 3)
		r.says("claim [1 2 3]", "claim [2]", "ack [1 2 3]")
	})
}

func TestARowThatStaysLockedHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.locked = map[jobstore.ID]int{1: 1000}
		r.brokered(10, 0)
		r.slot(2)
		r.hint(10, 1)
		r.hint(10, 2)
		pass(200 * time.Millisecond)
		r.gets(2)
		if n := len(r.claims()); n > 6 {
			t.Errorf("%d claims for a row that stays locked", n)
		}
	})
}

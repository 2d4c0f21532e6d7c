package completer_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/warrenq/warren/jobstore"
)

func TestAnOutcomeAloneIsRecordedAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		began := time.Now()
		r.complete(1)
		if got := r.sizes(); !slices.Equal(got, []int{1}) || time.Since(began) != 0 {
			t.Errorf("statements of %v outcomes after %s, want one at once", got, time.Since(began))
		}
		if by := r.asked[0].by; by != r.term.Holder || len(r.term.Held()) != 0 {
			t.Errorf("recorded by %d, %d still held; want %d and none", by, len(r.term.Held()), r.term.Holder)
		}
	})
}

func TestWhatWaitsBehindAStatementGoesIntoTheNext(t *testing.T) {
	t.Parallel()
	for flights, want := range map[int][]int{1: {1, 5}, 2: {1, 1, 4}} {
		t.Run(fmt.Sprintf("%d in flight", flights), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.cfg.Flights = flights
				r.start()
				gate := r.gate()
				r.complete(1)
				r.complete(2)
				r.complete(3, 4, 5, 6)
				gate <- nil
				if got := r.sizes(); !slices.Equal(got, want) {
					t.Errorf("statements of %v outcomes, want %v", got, want)
				}
				close(gate)
			})
		})
	}
}

func TestAStatementTakesNoMoreThanABatch(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights, r.cfg.Batch = 1, 3
		r.start()
		gate := r.gate()
		r.complete(1)
		r.complete(2, 3, 4, 5, 6, 7)
		close(gate)
		if got := r.sizes(); !slices.Equal(got, []int{1, 3, 3}) {
			t.Errorf("statements of %v outcomes, want 1, 3, 3", got)
		}
	})
}

func TestCompleteBlocksWhileTooManyWait(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights, r.cfg.Batch = 1, 2
		r.start()
		gate := r.gate()
		r.complete(1)
		r.complete(2, 3, 4, 5) // twice a batch may wait
		more := make(chan struct{})
		go func() { r.complete(6); close(more) }()
		synctest.Wait()
		select {
		case <-more:
			t.Error("Complete took more than may wait")
		default:
		}
		close(gate)
		<-more
	})
}

func TestErrorsAreRetriedUntilTheOutcomesAreRecorded(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		fails := 6
		var at []time.Time
		r.set(func(context.Context, statement) (jobstore.Recorded, error) {
			at = append(at, time.Now())
			if fails--; fails >= 0 {
				return jobstore.Recorded{}, errAway
			}
			return jobstore.Recorded{}, nil
		})
		r.complete(1)
		if held := len(r.term.Held()); held != 1 {
			t.Errorf("%d held while the outcome is not recorded, want 1", held)
		}
		pass(time.Minute)
		if got := r.sizes(); len(got) != 7 || r.fenced != 0 || len(r.term.Held()) != 0 {
			t.Fatalf("%d statements, %d fenced, %d held; want 7 and nothing", len(got), r.fenced, len(r.term.Held()))
		}
		for i, ms := range []int64{25, 50, 100, 200, 400, 800} { // half of the pause at least
			if pause := at[i+1].Sub(at[i]); pause.Milliseconds() < ms || pause.Milliseconds() > 3*ms+1 {
				t.Errorf("pause %d is %s, want %d to %d ms", i, pause, ms, 3*ms)
			}
		}
	})
}

func TestALostReplyIsAnsweredByTheSameOutcomesAgain(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		tries := 0
		r.set(func(context.Context, statement) (jobstore.Recorded, error) {
			if tries++; tries == 1 {
				return jobstore.Recorded{}, errAway // although it was written
			}
			return jobstore.Recorded{Released: []jobstore.Ref{{ID: 99}}}, nil
		})
		r.complete(1)
		pass(time.Second)
		if len(r.asked) != 2 || len(r.asked[1].outs) != 1 || r.asked[1].outs[0].ID != 1 || r.asked[1].outs[0].LeaseNo != 2 {
			t.Fatalf("asked %+v, want the same twice", r.asked)
		}
		if len(r.released) != 1 || (<-r.released).ID != 99 || r.fenced != 0 {
			t.Error("what the second answer released is not announced")
		}
	})
}

func TestAStatementThatHangsIsGivenUpAndRepeated(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.gate() // nobody opens it
		r.complete(1)
		pass(4 * time.Second)
		r.set(nil)
		pass(2 * time.Second)
		if got := r.sizes(); !slices.Equal(got, []int{1, 1}) || len(r.term.Held()) != 0 {
			t.Errorf("statements of %v, %d held; a connection into a black hole holds the flight", got, len(r.term.Held()))
		}
	})
}

// choosy refuses statements with an output "bad", and every statement with job 9 in it.
func choosy(_ context.Context, s statement) (jobstore.Recorded, error) {
	for _, o := range s.outs {
		if string(o.Output) == "bad" || o.ID == 9 {
			return jobstore.Recorded{}, fmt.Errorf("record: %w", jobstore.ErrInvalid)
		}
	}
	return jobstore.Recorded{}, nil
}

func TestOneBadOutcomeDoesNotTakeItsNeighboursAlong(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights = 1
		r.start()
		gate := r.gate()
		r.complete(1)
		r.complete(2, 3)
		bad := jobstore.Outcome{ID: 4, LeaseNo: 2, State: jobstore.TemporarilyFailed, Delay: time.Hour, Output: []byte("bad"), Error: "why"}
		r.give(r.term, bad)
		r.complete(5, 9, 6)
		r.set(choosy)
		close(gate)
		pass(time.Second)
		recorded := r.recorded(choosy)
		for _, id := range []jobstore.ID{1, 2, 3, 5, 6} {
			if recorded[id].State != jobstore.Finished {
				t.Errorf("job %d: %+v", id, recorded[id])
			}
		}
		if o := recorded[4]; o.State != bad.State || o.Delay != bad.Delay || o.Output != nil || o.Error == "" || o.Error == "why" {
			t.Errorf("the bad outcome became %+v, want it without what cannot be stored", o)
		}
		if n := len(r.sizes()); n > 25 || !slices.Equal(r.term.Held(), []jobstore.ID{9}) {
			t.Errorf("%d statements, held %v; want a few, and 9 only", n, r.term.Held())
		}
		r.set(nil) // whatever it was that refused even the bare outcome of 9
		pass(5 * time.Second)
		if n := len(r.sizes()); n > 30 || len(r.term.Held()) != 0 || len(r.returned) != 0 {
			t.Errorf("%d statements, held %v, returned %v; want 9 recorded", n, r.term.Held(), r.returned)
		}
	})
}

// stubborn fails every statement with one of these jobs in it, by an error that says nothing about why.
func stubborn(ids ...jobstore.ID) func(context.Context, statement) (jobstore.Recorded, error) {
	return func(_ context.Context, s statement) (jobstore.Recorded, error) {
		for _, o := range s.outs {
			if slices.Contains(ids, o.ID) {
				return jobstore.Recorded{}, errAway
			}
		}
		return jobstore.Recorded{}, nil
	}
}

// A row may be locked for hours, or be one that somebody's trigger refuses: that is an error like any other.
func TestAnOutcomeThatKeepsFailingHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Batch = 20
		r.start()
		behind := func(ids ...jobstore.ID) { // goes into one statement
			gate := r.gate()
			r.complete(ids[0] + 1000)
			r.complete(ids[0] + 2000)
			r.complete(ids...)
			r.set(stubborn(9, 30, 50))
			close(gate)
			pass(30 * time.Second)
		}
		behind(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20)
		behind(30, 31, 32)
		behind(49, 50)
		bad := func() {
			r.t.Helper()
			held := r.term.Held()
			if slices.Sort(held); !slices.Equal(held, []jobstore.ID{9, 30, 50}) {
				r.t.Fatalf("%v are not recorded, want 9, 30 and 50", held)
			}
		}
		bad()
		for id := range jobstore.ID(100) { // more than may wait
			r.complete(100 + id)
		}
		bad()
		before := len(r.sizes())
		pass(time.Minute)
		if n := len(r.sizes()) - before; n < 60 || n > 150 {
			t.Errorf("%d tries of three outcomes in a minute, want one of each about every two seconds", n)
		}
		r.set(nil)
		pass(5 * time.Second)
		if len(r.term.Held()) != 0 || r.fenced != 0 || len(r.returned) != 0 {
			t.Errorf("held %v, %d fenced, returned %v; want all recorded", r.term.Held(), r.fenced, r.returned)
		}
	})
}

func TestWhatKeepsFailingIsHandedBackAtTheEnd(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(r *rig){
		"of the term":    func(r *rig) { r.term.Lost(); pass(time.Second) },
		"of the process": func(r *rig) { r.stop(); pass(12 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(r *rig) {
				r.start()
				r.set(stubborn(9))
				r.complete(8, 9, 10)
				pass(10 * time.Second)
				end(r)
				if want := 2000 + int64(r.term.Holder); len(r.returned) != 1 || r.returned[9] != want || r.fenced != 1 || len(r.term.Held()) != 0 {
					t.Errorf("returned %v, %d fenced, held %v; want 9 handed back by its lease", r.returned, r.fenced, r.term.Held())
				}
			})
		})
	}
}

func TestThereIsRoomForABatchOfWhatKeepsFailing(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Batch = 2
		r.start()
		r.set(func(context.Context, statement) (jobstore.Recorded, error) { return jobstore.Recorded{}, errAway })
		var taken atomic.Int32
		go func() {
			for id := range jobstore.ID(30) {
				r.give(r.term, jobstore.Outcome{ID: 1 + id, LeaseNo: 2, State: jobstore.Finished})
				taken.Add(1)
			}
		}()
		pass(15 * time.Second)
		if n := taken.Load(); n > 2+2*2+4 { // on the shelf, in two flights, waiting
			t.Errorf("%d were taken over while none can be recorded", n)
		}
		r.set(nil)
		pass(time.Minute)
		if n := taken.Load(); n != 30 || len(r.term.Held()) != 0 {
			t.Errorf("%d taken over, held %v; want all recorded", n, r.term.Held())
		}
	})
}

func TestFencedOutcomesAreCounted(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.set(func(_ context.Context, s statement) (jobstore.Recorded, error) {
			return jobstore.Recorded{Fenced: []jobstore.ID{s.outs[0].ID}}, nil
		})
		r.complete(1)
		r.complete(2)
		if r.fenced != 2 || len(r.returned) != 0 {
			t.Errorf("%d fenced, returned %v; want 2 and none: the row has another lease", r.fenced, r.returned)
		}
	})
}

func TestOutcomesOfADeadTermAreHandedBackInstead(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.term.Lost()
		r.complete(1, 2)
		if len(r.asked) != 0 || r.fenced != 2 {
			t.Errorf("%d statements, %d fenced; want none and 2", len(r.asked), r.fenced)
		}
		want := 2000 + int64(r.term.Holder)
		if r.returned[1] != want || r.returned[2] != want || len(r.released) != 2 {
			t.Errorf("returned %v, %d announced; want both by their lease", r.returned, len(r.released))
		}
	})
}

func TestALeaseLostInAnOutageEndsTheTriesAndHandsBackAfterIt(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.set(func(context.Context, statement) (jobstore.Recorded, error) { return jobstore.Recorded{}, errAway })
		r.away = errAway
		r.complete(1)
		pass(10 * time.Second)
		r.term.Lost()
		pass(10 * time.Second)
		tries := len(r.sizes())
		pass(time.Hour)
		if n := len(r.sizes()); n != tries {
			t.Errorf("%d tries to record under a lost lease", n-tries)
		}
		r.mu.Lock()
		r.away = nil
		r.mu.Unlock()
		pass(3 * time.Second)
		if len(r.returned) != 1 || r.fenced != 1 {
			t.Errorf("returned %v, %d fenced; want job 1 handed back when the database is there again", r.returned, r.fenced)
		}
	})
}

func TestEachTermRecordsItsOwn(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights = 1
		r.start()
		gate := r.gate()
		r.complete(1)
		r.complete(2)
		old := r.term
		old.Lost()
		r.term = r.nextTerm()
		r.complete(3)
		close(gate)
		pass(time.Second)
		last := r.asked[len(r.asked)-1]
		if len(r.asked) != 2 || last.by != r.term.Holder || len(last.outs) != 1 || last.outs[0].ID != 3 {
			t.Errorf("asked %+v, want job 3 alone under the new term", r.asked)
		}
		if _, ok := r.returned[2]; !ok || len(r.returned) != 1 {
			t.Errorf("returned %v, want job 2", r.returned)
		}
	})
}

func TestALateDropLeavesTheNextLeaseAlone(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		gate := r.gate()
		r.give(r.term, jobstore.Outcome{ID: 1, LeaseNo: 2, State: jobstore.Ready})
		synctest.Wait()
		// Written, the reply is on its way, and the job is leased to this process again.
		r.term.Hold([]jobstore.Lease{{Job: jobstore.Job{ID: 1, LeaseNo: 3}}})
		gate <- nil
		synctest.Wait()
		if held := r.term.Held(); len(held) != 1 {
			t.Errorf("held %v, want job 1: it runs", held)
		}
	})
}

func TestStopRecordsWhatWaits(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights, r.cfg.Batch = 1, 2
		r.start()
		gate := r.gate()
		r.complete(1)
		r.complete(2, 3, 4, 5)
		r.stop()
		if r.ran() {
			t.Error("Run returned before what waits was recorded")
		}
		close(gate)
		if !r.ran() {
			t.Error("Run did not return")
		}
		if got := r.sizes(); !slices.Equal(got, []int{1, 2, 2}) || r.fenced != 0 {
			t.Errorf("statements of %v, %d fenced; want 1, 2, 2", got, r.fenced)
		}
	})
}

func TestStopDoesNotWaitForADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Flights = 1
		r.start()
		r.set(func(context.Context, statement) (jobstore.Recorded, error) { return jobstore.Recorded{}, errAway })
		r.complete(1, 2, 3)
		r.stop()
		pass(9 * time.Second)
		if r.ran() {
			t.Error("Run gave up before the flush time")
		}
		pass(5 * time.Second)
		if !r.ran() {
			t.Error("Run waits for the database")
		}
		if len(r.returned) != 3 { // the last try: it may be this statement only that fails
			t.Errorf("returned %v, want all three", r.returned)
		}
	})
}

func TestWhatIsHandedBackIsRecordedAndAnnounced(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		r.set(func(_ context.Context, s statement) (jobstore.Recorded, error) {
			return jobstore.Recorded{Released: []jobstore.Ref{{ID: s.outs[0].ID}}}, nil
		})
		r.give(r.term, jobstore.Outcome{ID: 1, LeaseNo: 2, State: jobstore.Ready, Uncount: true})
		synctest.Wait()
		if len(r.released) != 1 || !r.asked[0].outs[0].Uncount {
			t.Errorf("%d announced, asked %+v", len(r.released), r.asked)
		}
	})
}

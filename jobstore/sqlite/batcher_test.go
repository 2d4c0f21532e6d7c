package sqlite_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Calls that wait together share a commit. What one of them has written before it failed goes,
// and the others stay.
func TestSharedCommit(t *testing.T) {
	t.Parallel()
	const callers = 30
	s, path := fresh(t)
	bad := job()
	bad.Args = []byte("no json")
	release := s.Occupy(t) // nobody commits meanwhile
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range callers {
		for i == 1 && !s.Flying() { // the first waits for the connection, so that the others wait in the queue
			<-tick.C
		}
		wg.Go(func() {
			jobs := []jobstore.NewJob{job(), job()}
			if i%3 == 0 {
				jobs[1] = bad
			}
			got, err := s.Insert(t.Context(), jobs)
			switch {
			case i%3 == 0 && !errors.Is(err, jobstore.ErrInvalid):
				t.Errorf("bad data: error is %v, want ErrInvalid", err)
			case i%3 != 0 && (err != nil || get(t, s, got[1].ID).State != jobstore.Ready):
				t.Errorf("good data beside bad data: %v, %v", got, err)
			}
		})
	}
	for s.Waiting() < callers-1 {
		<-tick.C
	}
	release()
	wg.Wait()
	if n := number(t, connect(t, path), "SELECT count(*) FROM jobs"); n != 40 {
		t.Errorf("there are %d jobs, want two of each of the 20 good calls", n)
	}
}

// A caller whose context has ended before its turn leaves nothing behind.
func TestCallerLeaves(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	release := s.Occupy(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
			t.Error(err)
		}
	})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !s.Flying() { // the first waits for the connection, so that others wait in the queue
		<-tick.C
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for range 3 {
		if _, err := s.Insert(ctx, []jobstore.NewJob{job()}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	}
	release()
	wg.Wait()
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil { // after all others
		t.Fatal(err)
	}
	if n := number(t, connect(t, path), "SELECT count(*) FROM jobs"); n != 2 {
		t.Errorf("there are %d jobs, want 2", n)
	}
}

// Of two different outcomes in one call the first counts.
func TestTwoOutcomesOfOneLease(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	by := register(t, s)
	if _, err := s.Insert(t.Context(), []jobstore.NewJob{job()}); err != nil {
		t.Fatal(err)
	}
	got, err := s.ClaimNext(t.Context(), by, 1)
	if err != nil || len(got) != 1 {
		t.Fatalf("claim: %v, %v", got, err)
	}
	o := jobstore.Outcome{ID: got[0].Job.ID, LeaseNo: 1, State: jobstore.Finished}
	other := o
	other.State = jobstore.PermanentlyFailed
	rec, err := s.Record(t.Context(), by.Holder, []jobstore.Outcome{o, other, o})
	if err != nil || len(rec.Fenced) != 1 || get(t, s, o.ID).State != jobstore.Finished {
		t.Errorf("recorded %+v, %v: the job is %s", rec, err, get(t, s, o.ID).State)
	}
}

package sweeper_test

import (
	"testing"
	"time"

	"github.com/warrenq/warren/internal/sweeper"
)

func TestAnIdleLeaderCostsAtMostFourStatementsASecond(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.next = 15 * time.Second
		r.start()
		pass(time.Minute)
		r.set(func() { r.calls = map[string]int{} })
		pass(10 * time.Minute)
		if n := r.count(); n > 4*600 || n < 600 {
			t.Errorf("%d statements in ten minutes, want one to four a second: %v", n, r.calls)
		}
	})
}

func TestOnlyTheLeaderSweeps(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(time.Hour)
		r.start()
		pass(30 * time.Minute)
		if all, lead := r.count(), r.count("lead"); all != lead || lead < 30 || lead > 70 {
			t.Errorf("%d statements, %d for the lease; want a look at the lease twice a minute", all, lead)
		}
		pass(31 * time.Minute)
		if r.leader != "me" || r.count("look") == 0 {
			t.Errorf("the leader is %s after the other's lease has expired", r.leader)
		}
	})
}

func TestAVacancyIsFilledAtOnce(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(time.Hour)
		r.start()
		pass(time.Second)
		r.set(func() { r.until = time.Now() })
		r.s.Heartbeat(true, nil)
		pass(time.Millisecond)
		if r.leader != "me" || r.count("look") == 0 {
			t.Errorf("the leader is %s after a heartbeat saw that nobody leads", r.leader)
		}
	})
}

func TestAHeartbeatThatSeesALeaderCostsNoLook(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.leader, r.until = "other", time.Now().Add(time.Hour)
		r.start()
		pass(time.Second)
		r.set(func() { r.calls = map[string]int{} })
		for range 5 {
			r.s.Heartbeat(false, nil)
			pass(time.Second)
		}
		if n := r.count(); n != 0 {
			t.Errorf("%d statements while another leads", n)
		}
	})
}

func TestALostLeaseStopsTheSweep(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(time.Minute)
		r.set(func() { r.leader, r.until = "other", time.Now().Add(time.Hour) })
		pass(6 * time.Second) // the renewal tells
		r.set(func() { r.calls = map[string]int{} })
		pass(time.Minute)
		if all, lead := r.count(), r.count("lead"); all != lead {
			t.Errorf("%d statements beside those for the lease", all-lead)
		}
	})
}

// Renewals fail and everything else works: the leader must not outlive its lease.
func TestALeaseThatCannotBeRenewedIsNotTrustedToItsEnd(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		f := &failing{store: r.store}
		r.cfg.Store = f
		r.s = sweeper.New(r.cfg)
		r.start()
		pass(time.Minute)
		r.set(func() { f.away = true })
		pass(15 * time.Second)
		r.set(func() { r.calls = map[string]int{} })
		pass(time.Minute)
		if n := r.count("look"); n != 0 {
			t.Errorf("%d looks under a lease that has expired", n)
		}
	})
}

func TestALeaderThatStopsResigns(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.start()
		pass(time.Second)
		if r.leader != "me" {
			t.Fatal("not the leader")
		}
		r.stop()
		if time.Now().Before(r.until) {
			t.Error("the lease was kept: another has to wait for its expiry")
		}
	})
}

func TestAHangingDatabaseDoesNotHangTheSweepForEver(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.hang = true
		r.start()
		pass(time.Minute)
		r.set(func() { r.hang = false; r.due = refs(1, 1) })
		pass(10 * time.Second)
		r.tells(1)
	})
}

func TestWithoutABrokerThereAreNoHintsToLose(t *testing.T) {
	t.Parallel()
	bubble(t, func(r *rig) {
		r.cfg.Depth = nil
		r.oldest, r.ready = refs(5, 5), refs(5, 5)
		r.s = sweeper.New(r.cfg)
		r.start()
		pass(time.Hour)
		r.tells()
		if n := r.count("live bands", "oldest"); n != 0 {
			t.Errorf("%d statements about hints", n)
		}
	})
}

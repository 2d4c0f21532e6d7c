package postgres_test

import (
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// A dead consumer is found among living ones, whichever plan the server makes of it: the statistics of a
// small table make another one than none.
func TestRescueAmongTheLiving(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	register := func(ttl time.Duration) jobstore.HolderID {
		t.Helper()
		id, err := s.Register(t.Context(), jobstore.Consumer{Host: "h", Kinds: []string{"k"}, Queues: []string{"default"}, Priorities: []int{10}}, ttl)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	dead := register(time.Hour)
	living := []jobstore.HolderID{register(time.Hour), register(time.Hour), register(time.Hour)}
	exec(t, conn, "VACUUM ANALYZE warren.consumers")
	if r, err := s.Rescue(t.Context(), 10, 3); err != nil || r.Consumers != 0 || r.Next <= 50*time.Minute {
		t.Errorf("while all live: %+v, %v", r, err)
	}
	exec(t, conn, "UPDATE warren.consumers SET expires_at = '-infinity' WHERE id = $1", dead)
	for _, id := range living { // whose rows come after the dead one's
		if _, err := s.Renew(t.Context(), id, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := s.Rescue(t.Context(), 10, 3); err != nil || r.Consumers != 1 || r.Next <= 50*time.Minute {
		t.Errorf("with a dead one: %+v, %v", r, err)
	}
	exec(t, conn, "DELETE FROM warren.consumers")
	if r, err := s.Rescue(t.Context(), 10, 3); err != nil || r.Next != 0 {
		t.Errorf("without any: %+v, %v", r, err)
	}
}

package postgres_test

import (
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// A key is free after its day, and requests take away what others have left behind.
func TestRequestsAreForgotten(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	once := func(key string) (jobstore.ID, bool) {
		t.Helper()
		out, again, err := s.InsertOnce(t.Context(), jobstore.Request{Key: key}, []jobstore.NewJob{job()})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].ID, again
	}
	first, _ := once("k")
	for _, key := range []string{"a", "b", "c"} {
		once(key)
	}
	exec(t, conn, "UPDATE warren.job_requests SET created_at = now() - interval '23 h 59 min'")
	if id, again := once("k"); !again || id != first {
		t.Errorf("within the day: job %d, again %t; want job %d", id, again, first)
	}
	exec(t, conn, "UPDATE warren.job_requests SET created_at = now() - interval '24 h 1 s'")
	second, again := once("k")
	if again || second == first {
		t.Errorf("after a day: job %d, again %t", second, again)
	}
	if id, again := once("k"); !again || id != second {
		t.Errorf("the new request: job %d, again %t; want job %d", id, again, second)
	}
	var keys []string
	if err := conn.QueryRow(t.Context(), "SELECT array_agg(key) FROM warren.job_requests").Scan(&keys); err != nil || len(keys) != 1 || keys[0] != "k" {
		t.Errorf("remembered are %v, %v; want k only", keys, err)
	}
}

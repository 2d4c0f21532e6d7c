package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// A login of role <schema>_app may carry out every order. Only the space of what it removed is
// left to the server.
func TestOrdersOfApp(t *testing.T) {
	t.Parallel()
	_, dsn := fresh(t)
	admin := connect(t, dsn)
	conf := admin.Config()
	user := "app_" + conf.Database[len(conf.Database)-12:]
	exec(t, admin, "CREATE ROLE "+user+" LOGIN IN ROLE warren_app")
	s := open(t, strings.Replace(dsn, "//"+conf.User, "//"+user, 1), postgres.Config{})
	in, err := s.Insert(t.Context(), []jobstore.NewJob{job(), job()})
	if err != nil {
		t.Fatal(err)
	}
	ids := []jobstore.ID{in[0].ID, in[1].ID}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = s.Edit(t.Context(), ids, jobstore.Edit{Priority: new(20)})
	must("edit", err)
	_, err = s.Cancel(t.Context(), ids)
	must("cancel", err)
	_, err = s.Retry(t.Context(), ids[:1])
	must("retry", err)
	_, err = s.Delete(t.Context(), ids[:1])
	must("delete", err)
	_, err = s.Pause(t.Context(), "default", time.Hour)
	must("pause", err)
	_, err = s.Queues(t.Context())
	must("queues", err)
	_, err = s.Resume(t.Context(), "default")
	must("resume", err)
	_, _, _, err = s.Reannounce(t.Context(), "default", jobstore.Position{}, 10)
	must("reannounce", err)
	register(t, s)
	_, err = s.Restart(t.Context(), "default", 1)
	must("restart", err)
	n, _, err := s.Clear(t.Context(), jobstore.Cancelled, 0, time.Time{}, 10)
	must("clear", err)
	if n != 1 {
		t.Errorf("cleared %d", n)
	}
	if done, err := s.Compact(t.Context()); err != nil || done {
		t.Errorf("compact: %t, %v", done, err)
	}
}

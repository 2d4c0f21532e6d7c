package sqlite_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/warrenq/warren/jobstore"
)

// Faults that only a person with sqlite3, or a bug, can make are found, and are gone after Mend.
func TestFaultsByHand(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	db := connect(t, path)
	unique := jobstore.NewJob{Kind: "k", Args: json.RawMessage(`{}`), Queue: "q", Priority: 10, Mode: jobstore.Unique, Identifier: "u"}
	in, err := s.Insert(t.Context(), []jobstore.NewJob{unique})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"INSERT INTO job_keys VALUES ('k', 'gone', 4711, NULL), ('k', 'kept', 4712, '9999-12-31T23:59:59.999Z')",
		"INSERT INTO jobs (id, kind, queue, state, holder, lease_no) VALUES (70, 'k', 'q', 'PROCESSING', 99, 1)",
		"INSERT INTO jobs (id, kind, queue, state, available_at) VALUES (71, 'k', 'q', 'WAITING', '2001-01-01T00:00:00.000Z')",
		"INSERT INTO jobs (id, kind, queue, announce_at) VALUES (72, 'k', 'q', '2001-01-01T00:00:00.000Z')",
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	faults := func() (all []jobstore.Fault, text []string) {
		t.Helper()
		all, err := s.Faults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			text = append(text, fmt.Sprintf("%s %d", f.Fault, f.ID))
		}
		return all, text
	}
	all, got := faults()
	if want := []string{"due-not-ready 71", "key-without-job 4711", "outbox-overdue 72", "processing-without-consumer 70"}; !slices.Equal(got, want) {
		t.Fatalf("found %q, want %q", got, want)
	}
	if err := s.Mend(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	if rescued, err := s.Rescue(t.Context(), 10, 3); err != nil || rescued.Crashed != 1 || rescued.Consumers != 1 {
		t.Errorf("rescued %+v, %v", rescued, err)
	}
	if _, got = faults(); !slices.Equal(got, []string{"due-not-ready 71", "outbox-overdue 72"}) {
		t.Errorf("after mending: %q", got)
	}
	again, err := s.Insert(t.Context(), []jobstore.NewJob{unique})
	if err != nil || again[0].Existing != in[0].ID {
		t.Errorf("the key of a living job is free: %+v, %v", again, err)
	}
}

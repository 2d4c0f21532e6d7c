package postgres_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// Every fault that only a person with psql, or a bug, can make is found, and is gone after Mend.
func TestFaultsByHand(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	conn := connect(t, dsn)
	job := func(change func(*jobstore.NewJob)) jobstore.NewJob {
		j := jobstore.NewJob{Kind: "k", Args: json.RawMessage(`{}`), Queue: "q", Priority: 10, Mode: jobstore.Normal}
		change(&j)
		return j
	}
	in, err := s.Insert(t.Context(), []jobstore.NewJob{
		job(func(*jobstore.NewJob) {}),
		job(func(j *jobstore.NewJob) { j.SerialGroup = "a" }),
		job(func(j *jobstore.NewJob) { j.SerialGroup = "b" }),
		job(func(j *jobstore.NewJob) { j.Mode, j.Identifier = jobstore.Unique, "u" }),
		job(func(*jobstore.NewJob) {}),
		job(func(j *jobstore.NewJob) { j.Delay = time.Hour }),
	})
	if err != nil {
		t.Fatal(err)
	}
	holder, err := s.Register(t.Context(), jobstore.Consumer{Kinds: []string{"k"}, Queues: []string{"q"}, Priorities: []int{10}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(ids ...jobstore.ID) []jobstore.Lease {
		t.Helper()
		got, err := s.Claim(t.Context(), jobstore.Claimant{Holder: holder, Queues: []string{"q"}, Priorities: []int{10}, Kinds: []string{"k"}, Token: 1}, ids)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leases
	}
	if got := claim(in[0].ID, in[1].ID); len(got) != 2 {
		t.Fatalf("claimed %d jobs", len(got))
	}
	exec(t, conn, "UPDATE warren.job_groups SET serial_group = 'b'") // a's member has none, b's row names somebody else's
	exec(t, conn, "INSERT INTO warren.job_keys VALUES ('k', 'gone', 4711, NULL), ('k', 'kept', 4712, 'infinity')")
	exec(t, conn, "UPDATE warren.jobs SET announce_at = now() - interval '1 minute' WHERE id = $1", in[4].ID)
	exec(t, conn, "UPDATE warren.jobs SET available_at = now() - interval '1 minute' WHERE id = $1", in[5].ID)
	exec(t, conn, "DELETE FROM warren.consumers WHERE id = $1", holder)
	want := []string{
		fmt.Sprint(jobstore.FaultDue, in[5].ID), fmt.Sprint(jobstore.FaultGroupRow, in[1].ID), fmt.Sprint(jobstore.FaultKey, 4711),
		fmt.Sprint(jobstore.FaultMember, in[1].ID), fmt.Sprint(jobstore.FaultOutbox, in[4].ID),
		fmt.Sprint(jobstore.FaultOrphan, in[0].ID), fmt.Sprint(jobstore.FaultOrphan, in[1].ID),
	}
	faults := func() (all []jobstore.Fault, text []string) {
		t.Helper()
		all, err := s.Faults(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			text = append(text, fmt.Sprint(f.Fault, f.ID))
		}
		return all, text
	}
	all, got := faults()
	if !slices.Equal(got, want) {
		t.Fatalf("found\n%q, want\n%q", got, want)
	}
	if err := s.Mend(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	rescued, err := s.Rescue(t.Context(), 10, 3)
	if err != nil || rescued.Crashed != 2 || rescued.Consumers != 1 {
		t.Fatalf("rescued %+v, %v", rescued, err)
	}
	if _, got = faults(); !slices.Equal(got, []string{want[0], want[4]}) {
		t.Errorf("after mending: %q", got)
	}
	// The groups go on, and the number of the dead consumer is nobody's again.
	if holder, err = s.Register(t.Context(), jobstore.Consumer{}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := claim(in[1].ID, in[2].ID); len(got) != 2 {
		t.Errorf("%d of two groups go on", len(got))
	}
}

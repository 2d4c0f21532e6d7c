package postgres_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// A claim reads every column, in whatever format the connection is told to ask for.
func TestClaimReadsEveryFormat(t *testing.T) {
	t.Parallel()
	migrated, dsn := fresh(t)
	joint := "?"
	if strings.Contains(dsn, "?") {
		joint = "&"
	}
	for _, mode := range []string{"cache_statement", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := open(t, dsn+joint+"default_query_exec_mode="+mode, postgres.Config{})
			by := register(t, s)
			full := jobstore.NewJob{
				Kind: by.Kinds[0], Args: []byte(`{"a": [1, "ü"]}`), Queue: by.Queues[0], Priority: by.Priorities[0], SerialGroup: "g " + mode,
				Coalesce: new(int64(7)), Identifier: "i " + mode, Mode: jobstore.Recurring, Every: 90 * time.Second, Timeout: 1500 * time.Microsecond,
				MaxAttempts: 3, Metadata: []byte(`{"m": true}`), Tags: []string{"x", `y "z"`}, AvailableAt: time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC),
			}
			plain := jobstore.NewJob{Kind: by.Kinds[0], Queue: by.Queues[0], Priority: by.Priorities[0]}
			var ids []jobstore.ID
			for _, j := range []jobstore.NewJob{full, plain} {
				in, err := migrated.Insert(t.Context(), []jobstore.NewJob{j})
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, in[0].ID)
			}
			got, err := s.Claim(t.Context(), by, ids)
			if err != nil || len(got.Leases) != 2 {
				t.Fatalf("claimed %d of 2: %v", len(got.Leases), err)
			}
			for _, l := range got.Leases {
				// What everybody reads with pgx's own Scan is what the claim must have read.
				want, err := migrated.Get(t.Context(), l.Job.ID)
				if err != nil {
					t.Fatal(err)
				}
				if want.State != jobstore.Processing || want.AttemptedAt == nil {
					t.Errorf("the row is %+v", want)
				}
				if !reflect.DeepEqual(l.Job, want) {
					t.Errorf("claimed\n%+v, the row is\n%+v", l.Job, want)
				}
			}
		})
	}
}

// A time without an end, which somebody has written with SQL, keeps no job from being claimed.
func TestClaimCreatedSinceEver(t *testing.T) {
	t.Parallel()
	s, dsn := fresh(t)
	by := register(t, s)
	var id jobstore.ID
	if err := connect(t, dsn).QueryRow(t.Context(), `INSERT INTO warren.jobs (kind, queue, priority, created_at) VALUES ($1, $2, $3, '-infinity') RETURNING id`,
		by.Kinds[0], by.Queues[0], by.Priorities[0]).Scan(&id); err != nil {
		t.Fatal(err)
	}
	got, err := s.Claim(t.Context(), by, []jobstore.ID{id})
	if err != nil || len(got.Leases) != 1 || !got.Leases[0].Job.CreatedAt.Before(time.Now()) {
		t.Errorf("claimed %+v, %v", got, err)
	}
}

package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// settleSQL inserts jobs whose key may have to be taken from its holder, or whose values the holder
// may have to take over. It is one statement and one commit, however many statements the function has.
const settleSQL = `-- warren: settle
SELECT id, queue, priority, state, existing FROM @schema@.settle_jobs($1::text::jsonb) ORDER BY ord`

// settling is a job as settle_jobs reads it.
type settling struct {
	Ord         int              `json:"ord"`
	Kind        string           `json:"kind"`
	Args        json.RawMessage  `json:"args"`
	Queue       string           `json:"queue"`
	Priority    int32            `json:"priority"`
	SerialGroup *string          `json:"serial_group"`
	GroupSkip   bool             `json:"group_skip"`
	Coalesce    *int64           `json:"coalesce"`
	Identifier  *string          `json:"identifier"`
	Mode        jobstore.Mode    `json:"mode"`
	Every       *int64           `json:"every"`
	UniqueFor   *int64           `json:"unique_for"`
	At          *time.Time       `json:"at"`
	Delay       int64            `json:"delay"`
	MaxAttempts int32            `json:"max_attempts"`
	Timeout     *int64           `json:"timeout"`
	Metadata    json.RawMessage  `json:"metadata,omitempty"`
	Tags        []string         `json:"tags"`
	Outbox      bool             `json:"outbox"`
	Replace     jobstore.Replace `json:"replace"`
	MaxWait     *int64           `json:"max_wait"`
}

func settled(j jobstore.NewJob) bool { return j.Settled() }

func (s *Store) settleIn(ctx context.Context, q session, jobs []jobstore.NewJob) ([]jobstore.Inserted, error) {
	list := make([]settling, len(jobs))
	for i := range jobs {
		list[i] = newSettling(i, &jobs[i])
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, fmt.Errorf("%w: args or metadata: %w", jobstore.ErrInvalid, err)
	}
	out, err := gatherIn(ctx, q, s.sql[settleSQL], func(r pgx.Rows) (in jobstore.Inserted, err error) {
		err = r.Scan(&in.ID, &in.Queue, &in.Priority, &in.State, &in.Existing)
		return in, err
	}, string(text))
	if err == nil && len(out) != len(jobs) {
		err = fmt.Errorf("%d of %d rows were inserted", len(out), len(jobs))
	}
	return out, err
}

func newSettling(ord int, j *jobstore.NewJob) settling {
	v := settling{
		Ord: ord, Kind: j.Kind, Args: j.Args, Queue: j.Queue, Priority: clamp(j.Priority), SerialGroup: optional(j.SerialGroup),
		GroupSkip: j.GroupSkip, Coalesce: j.Coalesce, Identifier: optional(j.Identifier), Mode: j.Mode, Every: micros(j.Every),
		UniqueFor: uniqueFor(j.UniqueFor), Delay: max(0, j.Delay.Microseconds()), MaxAttempts: clamp(j.MaxAttempts),
		Timeout: micros(j.Timeout), Metadata: j.Metadata, Outbox: j.Outbox, Replace: j.Replace, MaxWait: micros(j.MaxWait),
	}
	if len(v.Args) == 0 {
		v.Args = json.RawMessage("{}")
	}
	if v.Mode == "" {
		v.Mode = jobstore.Normal
	}
	if len(j.Tags) > 0 {
		v.Tags = slices.Clone(j.Tags)
	}
	if !j.AvailableAt.IsZero() {
		v.At = &j.AvailableAt
	}
	return v
}

// uniqueFor is a period in microseconds: NULL = until the job has ended, 0 = until its start, negative = for ever.
func uniqueFor(d time.Duration) *int64 {
	if d == jobstore.Forever {
		return new(int64(-1))
	}
	if d == jobstore.UntilStart {
		return new(int64(0))
	}
	return micros(d)
}

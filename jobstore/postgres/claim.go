package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// What a row of a claim's answer is.
const (
	rowLease   = 0
	rowUnknown = 1
	rowGone    = 2
	rowBusy    = 3
	rowGroups  = 4
)

// Claim implements jobstore.Claimer.
//
// Again waits for a claim whose reply was lost to end on the server, and then returns what it
// granted together with what can be claimed now.
func (s *Store) Claim(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error) {
	if len(ids) == 0 {
		return jobstore.Claimed{}, nil
	}
	ids = slices.Clone(ids)
	slices.Sort(ids)
	ids = slices.Compact(ids) // a number twice would be a lease twice when the claim is repeated
	var lost []jobstore.Lease
	if by.Again {
		var err error
		if lost, err = s.granted(ctx, by, ids); err != nil {
			return jobstore.Claimed{}, wrap(fmt.Sprintf("claim %d jobs again", len(ids)), err)
		}
	}
	got, err := s.claimNumbers(ctx, by, ids)
	if err != nil {
		return jobstore.Claimed{}, wrap(fmt.Sprintf("claim %d jobs", len(ids)), err)
	}
	got.Leases = append(lost, got.Leases...)
	return got, nil
}

// claimNumbers takes the plain ones first, which mostly are all.
func (s *Store) claimNumbers(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) (got jobstore.Claimed, err error) {
	if !s.plain.tries() {
		return s.claimEach(ctx, claimSQL, by, ids)
	}
	if got, err = s.claimEach(ctx, claimPlainSQL, by, ids); err != nil {
		return got, err
	}
	granted := make(map[jobstore.ID]bool, len(got.Leases))
	for i := range got.Leases {
		granted[got.Leases[i].Job.ID] = true
	}
	left := slices.DeleteFunc(ids, func(id jobstore.ID) bool { return granted[id] })
	if len(left) == 0 {
		return got, nil
	}
	others, err := s.claimEach(ctx, claimSQL, by, left)
	if err != nil { // told, although some are granted: whatever this one granted is looked for together with them
		return got, err
	}
	s.plain.learn(len(others.Leases) <= len(got.Leases))
	others.Leases = append(got.Leases, others.Leases...)
	return others, nil
}

// claimEach claims all at once. Where the row of one job refuses that (a trigger or a rule that somebody has added says
// no to it), each is claimed alone, and that one is left to whoever reads the log.
func (s *Store) claimEach(ctx context.Context, text string, by jobstore.Claimant, ids []jobstore.ID) (jobstore.Claimed, error) {
	got, err := s.claim(ctx, text, by, len(ids), ids)
	if !refusesRow(err) {
		return got, err
	}
	got = jobstore.Claimed{}
	for _, id := range ids {
		one, err := s.claim(ctx, text, by, 1, []jobstore.ID{id})
		switch {
		case refusesRow(err):
			s.log.Error("a job cannot be claimed: its row may not be written", zap.Int64("job_id", int64(id)), zap.Error(err))
		case err != nil:
			return got, err
		}
		got.Leases, got.UnknownKind, got.Busy = append(got.Leases, one.Leases...), append(got.UnknownKind, one.UnknownKind...), append(got.Busy, one.Busy...)
	}
	return got, nil
}

// refusesRow reports whether an error is about a row that was to be written. Nothing was, then.
func refusesRow(err error) bool {
	if err == nil {
		return false
	}
	var pg *pgconn.PgError
	raised := errors.As(err, &pg) && pg.Code == "P0001" // by a trigger that says no more than that
	c := classify(err)
	return raised || c == data || c == refused
}

// plainness says whether claims of plain jobs are tried before claims of any. Where most jobs are of serial groups, that would
// be one statement more for nothing.
type plainness struct{ not atomic.Int32 }

// notPlain is how many claims do without after one that was in vain.
const notPlain = 32

func (p *plainness) tries() bool {
	if p.not.Load() <= 0 {
		return true
	}
	p.not.Add(-1)
	return false
}

// learn takes in whether it was right to try, or would have been.
func (p *plainness) learn(right bool) {
	if right {
		p.not.Store(0)
	} else {
		p.not.Store(notPlain)
	}
}

// claimPlainSQL is claimSQL for jobs without a group, of kinds that the claimant has: half as much to begin with. It tells
// nothing of the others.
const claimPlainSQL = `-- warren: claim, plain
WITH me AS MATERIALIZED (` + claimMe + `),
locked AS MATERIALIZED (
  SELECT l.* FROM unnest($8::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id FROM @schema@.jobs_live j
    WHERE j.id = w.id AND j.state || '' = 'READY' AND j.serial_group IS NULL AND j.available_at <= now()
      AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.kind = ANY ($7::text[])
      AND j.queue ` + notPaused + ` AND ` + jobNotPaused + `
    LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED
  ) l
  WHERE (SELECT count(*) FROM me) = 1
)` + claimGrantPlain + `, 0`

// claimGrantPlain is claimGrant where no row in locked(id) has a group.
//
// The row is asked for as a range of one number, here and in every statement that joins numbers to jobs_live. With an
// equality the planner may also read that index from end to end, in order, for each number; in a table of a few rows
// that costs the same, and the plan stays when the table grows.
const claimGrantPlain = `
UPDATE @schema@.jobs_live j
SET ` + leased + `
FROM locked l WHERE j.id BETWEEN l.id AND l.id
RETURNING ` + leaseColumns

// errGroups says that a statement for plain jobs is not enough.
var errGroups = errors.New("there are jobs of serial groups")

// leased is what a claim sets.
const leased = `state = 'PROCESSING', holder = $1::bigint, claim_token = $2::bigint, lease_no = j.lease_no + 1, attempts = j.attempts + 1,
      attempted_at = now(), announce_at = NULL, host = $3::text, pid = $4::int`

// claimSQL takes what it may of the numbers in $8, and tells which it would have taken, had nobody
// locked them. Only numbers that were not taken are looked at twice.
//
// The consumer's row is locked FOR KEY SHARE, so that its rescue waits for this claim's commit
// and sees the rows. Jobs are locked in their newest version, and skipped when somebody else has
// them: then they are no business of this claim. LATERAL with a LIMIT leaves the planner nothing
// but one look-up a number.
const claimSQL = `-- warren: claim
WITH me AS MATERIALIZED (` + claimMe + `),
locked AS MATERIALIZED (
  SELECT l.* FROM unnest($8::bigint[]) AS w(id) CROSS JOIN LATERAL (
    SELECT j.id, j.serial_group, j.kind = ANY ($7::text[]) AS known
    FROM @schema@.jobs_live j
    WHERE j.id = w.id AND j.state || '' = 'READY' AND j.available_at <= now()
      AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.queue ` + notPaused + ` AND ` + jobNotPaused + `
      AND (j.serial_group IS NULL OR NOT EXISTS (` + claimBefore + `))
    LIMIT 1 FOR NO KEY UPDATE OF j SKIP LOCKED
  ) l
  WHERE (SELECT count(*) FROM me) = 1
)` + claimGrant + `
UNION ALL SELECT b.id, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, 3
FROM (SELECT w.id FROM unnest($8::bigint[]) AS w(id) WHERE NOT EXISTS (SELECT FROM locked l WHERE l.id = w.id) AND EXISTS (SELECT FROM me)) w
CROSS JOIN LATERAL (
  SELECT j.id FROM @schema@.jobs_live j
  WHERE j.id = w.id AND j.state || '' = 'READY' AND j.available_at <= now()
    AND j.queue = ANY ($5::text[]) AND j.priority = ANY ($6::int[]) AND j.queue ` + notPaused + ` AND ` + jobNotPaused + `
    AND (j.serial_group IS NULL OR NOT EXISTS (` + claimBefore + `))
  LIMIT 1
) b`

const claimMe = `
  SELECT id, force FROM @schema@.consumers WHERE id = $1::bigint AND expires_at > clock_timestamp() FOR KEY SHARE`

// claimBefore finds a member of j's group that must run before j.
const claimBefore = `
      SELECT FROM` + groupBefore

const groupBefore = ` @schema@.jobs_live m
      WHERE m.serial_group = j.serial_group AND (m.priority, m.id) < (j.priority, j.id)
        AND NOT (m.group_skip AND m.state IN ('SCHEDULED', 'TEMPORARILY_FAILED', 'WAITING'))`

// claimGrant is the end of both claims: locked(id, serial_group, known) are rows that this
// statement has locked while they were READY.
//
// won inserts the group rows, in key order. A conflict means that a member is running, whatever
// the snapshot says. absorbed takes the members out that a starting job makes redundant; members
// that a person's transaction has locked are passed over, and then merely run.
const claimGrant = `,
won AS (
  INSERT INTO @schema@.job_groups (serial_group, running_id)
  SELECT serial_group, id FROM locked WHERE known AND serial_group IS NOT NULL ORDER BY serial_group
  ON CONFLICT DO NOTHING
  RETURNING running_id
),
granted AS (
  UPDATE @schema@.jobs_live j
  SET ` + leased + `
  FROM locked l
  WHERE j.id BETWEEN l.id AND l.id AND l.known AND (l.serial_group IS NULL OR EXISTS (SELECT FROM won WHERE won.running_id = l.id))
  RETURNING j.id, j.queue, j.priority, j.kind, j.args, j.serial_group, j."coalesce", j.identifier, j.mode, j.every, j.attempts,
    j.max_attempts, j.lease_no, j.crashes, j.created_at, j.available_at, j.attempted_at, j.timeout, j.metadata, j.tags, j.step
),
strange AS (
  UPDATE @schema@.jobs_live j
  SET announce_at = now() + least(greatest(now() - greatest(j.available_at, j.created_at), interval '1 s'), interval '30 s')
  FROM locked l WHERE j.id BETWEEN l.id AND l.id AND NOT l.known
  RETURNING j.id
),
absorbed AS (
  DELETE FROM @schema@.jobs_live j
  USING granted g CROSS JOIN LATERAL (
    SELECT m.id FROM @schema@.jobs_live m
    WHERE m.serial_group = g.serial_group AND m."coalesce" >= g."coalesce" AND m.lease_no = 0 AND m.id <> g.id
    FOR UPDATE SKIP LOCKED
  ) m
  WHERE g."coalesce" IS NOT NULL AND j.id BETWEEN m.id AND m.id
  RETURNING j.*
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, attempts, crashes, error, errors, metadata)
  SELECT ` + carriedColumns + `, 'REDUNDANT', now(), attempts, crashes, 'absorbed: a job of its group with coalesce started', errors, metadata
  FROM absorbed
)
SELECT ` + leaseColumns + `, 0 FROM granted j
UNION ALL SELECT id, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, 1 FROM strange
UNION ALL SELECT 0, '', 0, '', NULL, NULL, NULL, NULL, '', NULL, 0, 0, 0, 0, now(), now(), now(), NULL, NULL, NULL, NULL, 2
  WHERE NOT EXISTS (SELECT FROM me)`

// carriedColumns go from the live partition to the history as they are.
const carriedColumns = `id, lease_no, "coalesce", created_at, available_at, attempted_at, max_attempts, pid, priority, group_skip, mode,
  queue, kind, serial_group, identifier, host, tags, timeout, every, unique_for, args, step`

// claim runs a claiming statement whose last parameters are rest. It grants most jobs at most.
func (s *Store) claim(ctx context.Context, text string, by jobstore.Claimant, most int, rest ...any) (jobstore.Claimed, error) {
	args := append([]any{by.Holder, by.Token, optional(by.Host), clamp(by.PID), by.Queues, small(by.Priorities), by.Kinds}, rest...)
	var got jobstore.Claimed
	gone, busy, groups := false, false, false
	reader := leaseReader{by: by}
	err := s.do(ctx, text, args, func() { got, gone, busy, groups = jobstore.Claimed{}, false, false, false }, func(r pgx.Rows) error {
		what, l, err := reader.read(r)
		switch {
		case err != nil:
			return err
		case what == rowLease:
			if n := len(got.Leases); n == cap(got.Leases) { // leases are large: copy few of them, and few times
				got.Leases = slices.Grow(got.Leases, min(most-n, 8+3*n))
			}
			got.Leases = append(got.Leases, l)
		case what == rowUnknown:
			got.UnknownKind = append(got.UnknownKind, l.Job.ID)
		case what == rowGone:
			gone = true
		case what == rowGroups:
			groups = true
		case what == rowBusy && l.Job.ID > 0:
			got.Busy = append(got.Busy, l.Job.ID)
		case what == rowBusy:
			busy = true
		}
		return nil
	})
	switch {
	case err != nil:
	case busy:
		err = jobstore.ErrBusy
	case groups:
		err = errGroups
	case gone:
		err = fmt.Errorf("consumer %d: %w", by.Holder, jobstore.ErrHolderGone)
	}
	return got, err
}

// waitSQL returns when no statement in flight holds any of the rows.
const waitSQL = `-- warren: wait for a claim
SELECT j.id FROM unnest($1::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id BETWEEN w.id AND w.id ORDER BY j.id FOR NO KEY UPDATE OF j`

const grantedSQL = `-- warren: granted before
SELECT ` + leaseColumns + `, 0
FROM unnest($3::bigint[]) AS w(id) JOIN @schema@.jobs_live j ON j.id BETWEEN w.id AND w.id
WHERE coalesce(j.holder, 0) = $1::bigint AND j.claim_token = $2::bigint AND j.state || '' = 'PROCESSING'`

// granted returns what an earlier claim with the same token has granted. It is a statement of its
// own after the wait, because the waiting statement's snapshot is older than the claim's commit.
func (s *Store) granted(ctx context.Context, by jobstore.Claimant, ids []jobstore.ID) ([]jobstore.Lease, error) {
	if err := s.exec(ctx, waitSQL, ids); err != nil {
		return nil, err
	}
	reader := leaseReader{by: by}
	return gather(ctx, s, grantedSQL, func(r pgx.Rows) (jobstore.Lease, error) {
		_, l, err := reader.read(r)
		return l, err
	}, by.Holder, by.Token, ids)
}

func small(list []int) []int32 {
	out := make([]int32, len(list))
	for i, n := range list {
		out[i] = clamp(n)
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func duration(us *int64) time.Duration {
	if us == nil {
		return 0
	}
	return time.Duration(*us) * time.Microsecond
}

package postgres

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/steps"
)

// Record implements jobstore.Recorder.
func (s *Store) Record(ctx context.Context, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	if len(done) == 0 {
		return jobstore.Recorded{}, nil
	}
	var rec jobstore.Recorded
	var freed []string
	err := retried(ctx, func() error {
		if slices.ContainsFunc(done, endsStep) {
			return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
				rec, freed, err = s.recordSteps(ctx, txSession{tx}, by, done, false)
				return err
			})
		}
		return s.with(ctx, func(q session) (err error) {
			rec, freed, _, err = s.recordIn(ctx, q, by, done)
			return err
		})
	})
	if err == nil && len(freed) > 0 {
		var heads []jobstore.Ref
		heads, err = s.headsOf(ctx, freed)
		rec.Released = append(rec.Released, heads...)
	}
	if err != nil {
		return jobstore.Recorded{}, wrap(fmt.Sprintf("record %d outcomes", len(done)), err)
	}
	return rec, nil
}

// RecordTx implements jobstore.Recorder.
func (s *Store) RecordTx(ctx context.Context, tx jobstore.Tx, by jobstore.HolderID, done []jobstore.Outcome) (jobstore.Recorded, error) {
	t, err := From(tx)
	if err != nil || len(done) == 0 {
		return jobstore.Recorded{}, err
	}
	rec, _, err := s.recordSteps(ctx, txSession{t}, by, done, true)
	if err != nil {
		return jobstore.Recorded{}, wrap(fmt.Sprintf("record %d outcomes", len(done)), err)
	}
	return rec, nil
}

// Return implements jobstore.Recorder.
func (s *Store) Return(ctx context.Context, by jobstore.HolderID, leases map[jobstore.ID]int64) ([]jobstore.Ref, error) {
	done := make([]jobstore.Outcome, 0, len(leases))
	for id, lease := range leases {
		done = append(done, jobstore.Outcome{ID: id, LeaseNo: lease, State: jobstore.Ready, Uncount: true})
	}
	rec, err := s.Record(ctx, by, done)
	return rec.Released, err
}

// recordSQL writes outcomes under their lease. What has ended leaves jobs_live for jobs_history,
// the rest stays, and what is handed back as if it had not been claimed is due since when it was. The group's row goes with
// the lease, whichever it is.
const recordSQL = `-- warren: record
WITH o AS MATERIALIZED (
  SELECT o.*, make_interval(secs => o.delay / 1e6) AS pause,
         o.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED') AS final
  FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bool[], $7::text[], $8::text[], $9::text[], $10::bigint[],
              $11::text[], $12::bool[]) AS o(id, lease, state, delay, uncount, error, output, metadata, duration, memory, noted)
),
ended AS (
  DELETE FROM @schema@.jobs_live j USING o
  WHERE o.final AND j.id BETWEEN o.id AND o.id AND j.lease_no = o.lease AND coalesce(j.holder, 0) = $1::bigint AND j.state || '' = 'PROCESSING'
  RETURNING ` + recordCarried + `, o.state AS new_state, o.error AS new_error, o.uncount, o.noted,` + recordNew + `
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, crashes, outcome_lease, attempts, error, errors, output,
         metadata, duration_ms, memory)
  SELECT ` + carriedColumns + `, new_state, now(), crashes, lease_no, new_attempts, new_error, new_errors, new_output, new_metadata,
         new_duration, new_memory
  FROM ended
),
kept AS (
  UPDATE @schema@.jobs_live j
  SET state = o.state, holder = NULL, claim_token = NULL, outcome_lease = o.lease,
      available_at = CASE WHEN o.state = 'READY' AND o.delay = 0 AND o.uncount THEN j.available_at ELSE now() + o.pause END,
      announce_at = CASE WHEN o.state = 'READY' AND o.delay > 0 THEN now() + o.pause END,
      error = CASE WHEN o.error IS NOT NULL THEN o.error ELSE j.error END,
      (attempts, errors, output, metadata, duration_ms, memory) = ROW (` + recordValues + `)
  FROM o
  WHERE NOT o.final AND j.id BETWEEN o.id AND o.id AND j.lease_no = o.lease AND coalesce(j.holder, 0) = $1::bigint AND j.state || '' = 'PROCESSING'
  RETURNING j.id, j.queue, j.priority, j.serial_group, o.state = 'READY' AND o.delay = 0 AS now,
    o.lease, j.attempts + o.uncount::int AS attempt, j.host, o.state, o.error, o.duration
),
done AS (
  SELECT id, queue, priority, serial_group, false AS now FROM ended
  UNION ALL SELECT id, queue, priority, serial_group, now FROM kept
),
noted AS (
  INSERT INTO @schema@.job_events (job_id, event, attempt, host, build, duration_ms, note)
  SELECT e.id, CASE e.new_state WHEN 'PERMANENTLY_FAILED' THEN 'failed' ELSE lower(e.new_state) END, e.new_attempts + e.uncount::int, e.host,
    (SELECT version FROM @schema@.consumers WHERE id = $1::bigint), e.duration,
    CASE e.new_state WHEN 'PERMANENTLY_FAILED' THEN '' ELSE coalesce(left(e.new_error, 500), '') END
  FROM (SELECT *, new_duration AS duration FROM ended) e WHERE e.noted OR e.new_state <> 'FINISHED'
  UNION ALL
  SELECT k.id, CASE k.state WHEN 'TEMPORARILY_FAILED' THEN 'failed' WHEN 'WAITING' THEN 'waited' ELSE 'released' END, k.attempt, k.host,
    (SELECT version FROM @schema@.consumers WHERE id = $1::bigint), k.duration,
    CASE k.state WHEN 'TEMPORARILY_FAILED' THEN '' ELSE coalesce(left(k.error, 500), '') END
  FROM kept k WHERE k.state = 'TEMPORARILY_FAILED' OR k.lease <= 20 OR k.lease % 100 = 0
),
freed AS (
  DELETE FROM @schema@.job_groups g USING done
  WHERE done.serial_group IS NOT NULL AND g.serial_group = done.serial_group AND g.running_id = done.id
)
SELECT id, queue, priority, serial_group, now FROM done`

// recordFinishedSQL is recordSQL for outcomes that say no more than that the job is FINISHED, which
// most do: it spares each row what recordSQL has to ask, a third of its cost.
const recordFinishedSQL = `-- warren: record, finished
WITH ended AS (
  DELETE FROM @schema@.jobs_live j
  USING unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[]) AS o(id, lease, duration, memory)
  WHERE j.id BETWEEN o.id AND o.id AND j.lease_no = o.lease AND coalesce(j.holder, 0) = $1::bigint AND j.state || '' = 'PROCESSING'
  RETURNING ` + recordCarried + `, j.attempts, j.errors, j.output, j.metadata, o.duration, o.memory
),
history AS (
  INSERT INTO @schema@.jobs_history (` + carriedColumns + `, state, finished_at, crashes, outcome_lease, attempts, errors, output,
         metadata, duration_ms, memory)
  SELECT ` + carriedColumns + `, 'FINISHED', now(), crashes, lease_no, attempts, errors, output, metadata, duration, memory::jsonb
  FROM ended
),
freed AS (
  DELETE FROM @schema@.job_groups g USING ended
  WHERE ended.serial_group IS NOT NULL AND g.serial_group = ended.serial_group AND g.running_id = ended.id
)
SELECT id, queue, priority, serial_group, false FROM ended`

const recordCarried = `j.id, j.lease_no, j."coalesce", j.created_at, j.available_at, j.attempted_at, j.max_attempts, j.pid, j.priority,
  j.group_skip, j.mode, j.queue, j.kind, j.serial_group, j.identifier, j.host, j.tags, j.timeout, j.every, j.unique_for, j.args, j.step, j.crashes`

// The history of errors keeps the last 20.
const (
	recordAttempts = `greatest(j.attempts - o.uncount::int, 0)`
	recordErrors   = `CASE WHEN o.error IS NULL OR o.state NOT IN ('TEMPORARILY_FAILED', 'PERMANENTLY_FAILED') THEN j.errors
           ELSE CASE WHEN j.errors IS NULL THEN '[]' WHEN jsonb_array_length(j.errors) >= 20 THEN j.errors - 0 ELSE j.errors END
             || jsonb_build_array(jsonb_build_object('at', now(), 'attempt', j.attempts, 'error', o.error, 'state', o.state)) END`
	recordOutput   = `CASE WHEN o.output IS NULL THEN j.output ELSE o.output::jsonb END`
	recordMetadata = `CASE WHEN o.metadata IS NULL THEN j.metadata WHEN j.metadata IS NULL THEN o.metadata::jsonb
           ELSE j.metadata || o.metadata::jsonb END`
	recordMemory = `CASE WHEN o.memory IS NULL THEN j.memory ELSE o.memory::jsonb END`

	recordValues = recordAttempts + `, ` + recordErrors + `, ` + recordOutput + `, ` + recordMetadata + `, o.duration, ` + recordMemory
	recordNew    = `
    ` + recordAttempts + ` AS new_attempts, ` + recordErrors + ` AS new_errors, ` + recordOutput + ` AS new_output,
    ` + recordMetadata + ` AS new_metadata, o.duration AS new_duration, ` + recordMemory + ` AS new_memory`
)

// endsStep reports whether an outcome may release others of its flow.
func endsStep(o jobstore.Outcome) bool { return o.Step != 0 && o.State.Final() }

// recordSteps records outcomes and settles the flows of those that have ended, in a transaction. What
// has not ended, and what is no job of a flow, is recorded along with them.
func (s *Store) recordSteps(
	ctx context.Context, q session, by jobstore.HolderID, done []jobstore.Outcome, outbox bool,
) (rec jobstore.Recorded, freed []string, err error) {
	rec, freed, accepted, err := s.recordIn(ctx, q, by, done)
	if err != nil {
		return rec, freed, err
	}
	var ended []jobstore.ID
	var changes []steps.Change
	for i := range done {
		o := &done[i]
		if !endsStep(*o) || !accepted[o.ID] {
			continue
		}
		ended = append(ended, o.ID)
		if o.Flow != nil && o.State == jobstore.Finished {
			changes = append(changes, steps.Change{Step: o.Step, FlowChange: o.Flow})
		}
	}
	released, err := s.settleFlows(ctx, q, ended, changes, outbox)
	rec.Released = append(rec.Released, released...)
	return rec, freed, err
}

// recordIn returns what was recorded, the serial groups that may go on, and the jobs whose outcomes this
// call has written.
func (s *Store) recordIn(
	ctx context.Context, q session, by jobstore.HolderID, done []jobstore.Outcome,
) (rec jobstore.Recorded, freed []string, accepted map[jobstore.ID]bool, err error) {
	accepted = make(map[jobstore.ID]bool, len(done))
	text, args := recordSQL, recordArgs
	if !slices.ContainsFunc(done, saysMore) {
		text, args = recordFinishedSQL, recordFinishedArgs
	}
	var queue string
	err = q.run(ctx, s.sql[text], args(by, done), func(r pgx.Rows) error {
		c := columnsOf(r)
		id := jobstore.ID(c.int())
		queue = c.same(queue)
		priority, group, now := int(c.int()), c.text(), c.bool()
		accepted[id] = true
		switch {
		case group != nil:
			freed = append(freed, string(group))
		case now:
			rec.Released = append(rec.Released, jobstore.Ref{ID: id, Band: jobstore.Band{Queue: queue, Priority: priority}})
		}
		return c.err
	})
	if err != nil || len(accepted) == len(done) {
		return rec, freed, accepted, err
	}
	before, err := s.recordedBefore(ctx, q, done)
	for _, o := range done {
		if accepted[o.ID] {
			continue
		}
		i := slices.IndexFunc(before, func(r jobstore.Ref) bool { return r.ID == o.ID })
		switch {
		case i < 0:
			rec.Fenced = append(rec.Fenced, o.ID)
		case o.SerialGroup != "":
			freed = append(freed, o.SerialGroup)
		case o.State == jobstore.Ready && o.Delay == 0: // perhaps nobody has announced it yet
			rec.Released = append(rec.Released, before[i])
		}
	}
	return rec, freed, accepted, err
}

// recordedSQL finds outcomes that an earlier statement has written, whose reply was lost. An
// outcome that let the job live on may have been followed by anything since.
const recordedSQL = `-- warren: recorded before
SELECT j.id, j.queue, j.priority FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS o(id, lease, state)
JOIN @schema@.jobs j ON j.id BETWEEN o.id AND o.id
WHERE j.outcome_lease = o.lease
  AND (j.state || '' = o.state OR o.state IN ('TEMPORARILY_FAILED', 'WAITING', 'READY'))`

func (s *Store) recordedBefore(ctx context.Context, q session, done []jobstore.Outcome) ([]jobstore.Ref, error) {
	ids, leases, states := make([]int64, len(done)), make([]int64, len(done)), make([]string, len(done))
	for i, o := range done {
		ids[i], leases[i], states[i] = int64(o.ID), o.LeaseNo, string(o.State)
	}
	return gatherIn(ctx, q, s.sql[recordedSQL], scanRef, ids, leases, states)
}

func scanID(r pgx.Rows) (id jobstore.ID, err error) {
	err = r.Scan(&id)
	return id, err
}

// saysMore reports whether recordFinishedSQL does not do for an outcome.
func saysMore(o jobstore.Outcome) bool {
	return o.State != jobstore.Finished || o.Noted || o.Uncount || o.Error != "" || len(o.Output) > 0 || len(o.Metadata) > 0
}

func recordFinishedArgs(by jobstore.HolderID, done []jobstore.Outcome) []any {
	n := len(done)
	ids, leases, durations, memory := make([]int64, n), make([]int64, n), make([]int64, n), make([]*string, n)
	for i := range done {
		o := &done[i]
		ids[i], leases[i], durations[i] = int64(o.ID), o.LeaseNo, int64(o.Duration/time.Millisecond)
		if i > 0 && bytes.Equal(o.Memory, done[i-1].Memory) { // attempts that end soon after each other have one note
			memory[i] = memory[i-1]
		} else {
			memory[i] = optional(string(o.Memory))
		}
	}
	return []any{by, ids, leases, durations, memory}
}

func recordArgs(by jobstore.HolderID, done []jobstore.Outcome) []any {
	n := len(done)
	ids, leases, delays, durations := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	states, uncount, noted := make([]string, n), make([]bool, n), make([]bool, n)
	errs, output, metadata, memory := make([]*string, n), make([]*string, n), make([]*string, n), make([]*string, n)
	for i := range done {
		o := &done[i]
		ids[i], leases[i], states[i], uncount[i], noted[i] = int64(o.ID), o.LeaseNo, string(o.State), o.Uncount, o.Noted
		if delays[i] = max(0, o.Delay.Microseconds()); delays[i] == 0 && o.Delay > 0 {
			delays[i] = 1
		}
		durations[i] = int64(o.Duration / time.Millisecond)
		errs[i], output[i], metadata[i], memory[i] = optional(o.Error), optional(string(o.Output)), optional(string(o.Metadata)), optional(string(o.Memory))
	}
	return []any{by, ids, leases, states, delays, uncount, errs, output, metadata, durations, memory, noted}
}

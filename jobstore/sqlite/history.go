package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

// documents is an object of columns, w, in which JSON is JSON, and no text.
const documents = `json_group_object(w.key, CASE WHEN w.key IN ('args', 'metadata', 'tags') THEN json(w.value) ELSE w.value END)`

const historySQL = `-- warren: history
SELECT e.at, e.event, coalesce(e.subject, ''), coalesce(e.attempt, 0), e.by_whom, coalesce(e.host, ''), coalesce(e.build, ''), e.duration_ms, e.note,
  coalesce(e.change_id, 0), coalesce(e.was, CASE WHEN r.was IS NOT NULL THEN (SELECT ` + documents + ` FROM json_each(r.was) w) END)
FROM (
  SELECT * FROM (SELECT * FROM job_events WHERE job_id = ?1 ORDER BY id DESC LIMIT ?4)
  UNION ALL
  SELECT * FROM (SELECT * FROM job_events WHERE job_id = 0 AND subject IN (SELECT value FROM json_each(?2)) AND at BETWEEN ?3 AND ?5 ORDER BY id DESC LIMIT ?4)
) e LEFT JOIN job_change_rows r ON e.event = 'edited' AND r.change_id = e.change_id AND r.job_id = e.job_id
ORDER BY e.id DESC LIMIT ?4`

// History implements jobstore.Historian.
func (s *Store) History(ctx context.Context, j *jobstore.Job, limit int) ([]jobstore.JobEvent, error) {
	subjects := j.Subjects()
	if j.CreatedAt.IsZero() {
		subjects = nil
	}
	got, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.JobEvent, error) {
		return gather(ctx, q, historySQL, scanEvent, j.ID, list(subjects), stamp(j.CreatedAt), limit, stamp(j.Until()))
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("history of job %d", j.ID), err)
	}
	slices.Reverse(got)
	return got, nil
}

func scanEvent(r row) (e jobstore.JobEvent, err error) {
	var at string
	var was sql.NullString
	err = r.Scan(&at, &e.Event, &e.Subject, &e.Attempt, &e.By, &e.Host, &e.Build, &e.DurationMS, &e.Note, &e.Change, &was)
	e.At, e.Was = read(at), raw(was)
	return e, err
}

// noteAttemptsSQL notes what attempts have come to, from an array of each one's values.
const noteAttemptsSQL = `-- warren: note attempts
INSERT INTO job_events (job_id, at, event, attempt, duration_ms, note, host, build)
SELECT e.value ->> 0, e.value ->> 1, e.value ->> 2, e.value ->> 3, e.value ->> 4, e.value ->> 5, j.host,
  (SELECT version FROM warren_consumers c WHERE c.id = e.value ->> 6)
FROM json_each(?1) e LEFT JOIN jobs j ON j.id = e.value ->> 0`

// noteOrderSQL notes what an order has done, in its transaction.
const noteOrderSQL = `-- warren: note an order
INSERT INTO job_events (job_id, at, event, by_whom, change_id)
SELECT value, ?2, ?3, ?4, nullif(?5, 0) FROM json_each(?1)`

// noteEditSQL notes the values that an edit is about to replace: of the columns in ?4.
const noteEditSQL = `-- warren: note an edit
INSERT INTO job_events (job_id, at, event, by_whom, was)
SELECT j.id, ?2, 'edited', ?3, (
  SELECT ` + documents + `
  FROM json_each(json_object('queue', j.queue, 'priority', j.priority, 'args', j.args, 'available_at', j.available_at, 'max_attempts', j.max_attempts,
    'timeout', j.timeout, 'metadata', j.metadata, 'tags', j.tags)) w
  WHERE w.key IN (SELECT value FROM json_each(?4)))
FROM jobs j WHERE j.id = ?1`

const noteSubjectSQL = `-- warren: note about many
INSERT INTO job_events (job_id, at, event, subject, by_whom, note, was) VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6)`

// noteSubject notes what is about more than one job.
func (s *Store) noteSubject(ctx context.Context, q session, event, subject, note string, was *string) error {
	_, err := q.exec(ctx, noteSubjectSQL, stamp(s.now()), event, subject, jobstore.Actor(ctx), note, was)
	return err
}

// forgetEventsSQL goes by numbers, which grow with time.
const forgetEventsSQL = `-- warren: forget events
DELETE FROM job_events WHERE id IN (SELECT id FROM (SELECT id, at FROM job_events ORDER BY id LIMIT ?2) WHERE at <= ?1)`

// eventOf is what an outcome is called in a history; "" when it is not noted.
func eventOf(o *jobstore.Outcome) (event, note string) {
	often := o.LeaseNo <= 20 || o.LeaseNo%100 == 0
	switch o.State {
	case jobstore.TemporarilyFailed, jobstore.PermanentlyFailed:
		return jobstore.EventFailed, "" // the text is among the job's errors
	case jobstore.Waiting:
		event = jobstore.EventWaited
	case jobstore.Ready:
		event = jobstore.EventReleased
	case jobstore.Finished:
		if event = jobstore.EventFinished; !o.Noted {
			return "", ""
		}
	case jobstore.Redundant:
		event = jobstore.EventRedundant
	case jobstore.Cancelled:
		event = jobstore.EventCancelled
	case jobstore.Quarantined:
		event = jobstore.EventQuarantined
	case jobstore.Scheduled, jobstore.Processing, jobstore.BrokerFailed, jobstore.BackToBroker:
		return "", ""
	}
	if !o.State.Final() && !often {
		return "", ""
	}
	text := []rune(o.Error)
	return event, string(text[:min(len(text), 500)])
}

package sqlite

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

// cancelSQL ends a job. The trigger frees its key, which ends a series.
const cancelSQL = `-- warren: cancel
UPDATE jobs SET state = 'CANCELLED', finished_at = ?2, announce_at = NULL WHERE id = ?1`

const forgetCancelsSQL = `-- warren: forget cancels
DELETE FROM job_cancels WHERE NOT EXISTS (
  SELECT 1 FROM jobs j WHERE j.id = job_cancels.job_id AND j.lease_no = job_cancels.lease_no AND j.state = 'PROCESSING')`

const askCancelSQL = `-- warren: ask to cancel
INSERT INTO job_cancels (job_id, lease_no, asked_at) SELECT id, lease_no, ?2 FROM jobs WHERE id = ?1
ON CONFLICT (job_id) DO UPDATE SET lease_no = excluded.lease_no, asked_at = excluded.asked_at`

// AskCancel implements jobstore.Canceller.
func (s *Store) AskCancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	if _, err := s.exec(ctx, forgetCancelsSQL); err != nil {
		return jobstore.Changed{}, s.wrap("forget cancels", err)
	}
	running := func(state jobstore.State) bool { return state == jobstore.Processing }
	return s.operate(ctx, ids, order{past: "cancelled", event: jobstore.EventAskedCancel, takes: running, do: func(ctx context.Context, q session, t *subject) (string, error) {
		_, err := q.exec(ctx, askCancelSQL, t.id, stamp(s.now()))
		return "", err
	}})
}

const cancelsOfSQL = `-- warren: cancels of a consumer
SELECT k.job_id, k.lease_no FROM job_cancels k CROSS JOIN jobs j ON j.id = k.job_id AND j.lease_no = k.lease_no AND j.holder = ?1`

// cancelsOf are the attempts of a consumer that somebody wants ended, by their leases.
func cancelsOf(ctx context.Context, q session, id jobstore.HolderID) (list map[jobstore.ID]int64, err error) {
	err = q.query(ctx, cancelsOfSQL, []any{id}, func(r row) error {
		var job jobstore.ID
		var lease int64
		if err := r.Scan(&job, &lease); err != nil {
			return err
		}
		if list == nil {
			list = map[jobstore.ID]int64{}
		}
		list[job] = lease
		return nil
	})
	return list, err
}

// Cancel implements jobstore.Operator.
func (s *Store) Cancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, ids, s.cancelling())
}

func (s *Store) cancelling() order {
	return order{past: "cancelled", takes: mayStillRun, do: func(ctx context.Context, q session, t *subject) (string, error) {
		_, err := q.exec(ctx, cancelSQL, t.id, stamp(s.now()))
		return "", err
	}}
}

package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// retrySQL orders another run. The trigger resets what begins anew and takes the key, and the sweep
// does the rest.
const retrySQL = `-- warren: retry
UPDATE jobs SET state = 'BACK_TO_BROKER' WHERE id = ?1`

// retryNowSQL makes it due by the store's clock: the trigger knows only the machine's.
const retryNowSQL = `-- warren: retry now
UPDATE jobs SET available_at = ?2 WHERE id = ?1`

const keyHolderSQL = `-- warren: holder of a key
SELECT job_id FROM job_keys WHERE kind = ?1 AND identifier = ?2 AND job_id <> ?3 AND (until IS NULL OR until > ?4)`

// Retry implements jobstore.Operator.
func (s *Store) Retry(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, ids, s.retrying())
}

func (s *Store) retrying() order {
	return order{past: "retried", takes: notRunning, do: func(ctx context.Context, q session, t *subject) (string, error) {
		now := stamp(s.now())
		if t.mode != jobstore.Normal {
			holders, err := gather(ctx, q, keyHolderSQL, scanInt, t.kind, t.identifier, t.id, now)
			if err != nil {
				return "", err
			}
			if len(holders) > 0 {
				return keyTaken(t.id, jobstore.ID(holders[0]), t.kind, t.identifier), nil
			}
		}
		if _, err := q.exec(ctx, retrySQL, t.id); err != nil {
			return "", err
		}
		_, err := q.exec(ctx, retryNowSQL, t.id, now)
		return "", err
	}}
}

func keyTaken(id, owner jobstore.ID, kind, identifier string) string {
	return fmt.Sprintf("job %d cannot run again: job %d holds its key (kind %s, identifier %s); wait until that job has ended, or cancel it",
		id, owner, kind, identifier)
}

package sqlite

import (
	"context"

	"github.com/warrenq/warren/jobstore"
)

const deleteSQL = `-- warren: delete
DELETE FROM jobs WHERE id = ?1`

// deleteKeySQL takes keys along that are held for a period or for ever: one that nobody can look up
// would puzzle whoever meets it. A job that has ended may have left its key to its successor.
const deleteKeySQL = `-- warren: delete a key
DELETE FROM job_keys WHERE kind = ?1 AND identifier = ?2 AND job_id = ?3`

// Delete implements jobstore.Operator.
func (s *Store) Delete(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
	return s.operate(ctx, ids, s.deleting())
}

func (s *Store) deleting() order {
	return order{past: "deleted", takes: notRunning, do: func(ctx context.Context, q session, t *subject) (string, error) {
		if _, err := q.exec(ctx, deleteSQL, t.id); err != nil || t.mode == jobstore.Normal {
			return "", err
		}
		_, err := q.exec(ctx, deleteKeySQL, t.kind, t.identifier, t.id)
		return "", err
	}}
}

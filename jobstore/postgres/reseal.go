package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// sealedSQL bounds the rows that are looked at, not those that are found: few may be encrypted. Its last
// row is where it ended.
const sealedSQL = `-- warren: sealed
WITH page AS MATERIALIZED (SELECT id, kind, identifier, args FROM @schema@.jobs WHERE id > $1 ORDER BY id LIMIT $2)
SELECT id, kind, coalesce(identifier, ''), args FROM page WHERE args ? '` + jobstore.SealedMember + `'
UNION ALL SELECT coalesce(max(id), 0), '', '', NULL FROM page`

// resealSQL finds a row that has gone to the history meanwhile on the next round.
const resealSQL = `-- warren: reseal
UPDATE @schema@.jobs j SET args = c.new::jsonb
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS c(id, old, new)
WHERE j.id = c.id AND j.args = c.old::jsonb
RETURNING j.id`

// Sealed implements jobstore.Resealer.
func (s *Store) Sealed(ctx context.Context, after jobstore.ID, limit int) (page jobstore.SealedPage, err error) {
	err = s.do(ctx, sealedSQL, []any{after, limit}, func() { page = jobstore.SealedPage{} }, func(r pgx.Rows) error {
		var a jobstore.SealedArgs
		var args []byte
		if err := r.Scan(&a.ID, &a.Kind, &a.Identifier, &args); err != nil {
			return err
		}
		if args == nil {
			page.Last = a.ID
			return nil
		}
		a.Args = args
		page.Args = append(page.Args, a)
		return nil
	})
	if err != nil {
		return jobstore.SealedPage{}, wrap(fmt.Sprintf("find encrypted args after job %d", after), err)
	}
	return page, nil
}

// Reseal implements jobstore.Resealer.
func (s *Store) Reseal(ctx context.Context, changes []jobstore.Resealed) (int, error) {
	if len(changes) == 0 {
		return 0, nil
	}
	ids, before, after := make([]int64, len(changes)), make([]string, len(changes)), make([]string, len(changes))
	for i, c := range changes {
		ids[i], before[i], after[i] = int64(c.ID), string(c.Old), string(c.New)
	}
	done, err := gather(ctx, s, resealSQL, scanID, ids, before, after)
	if err != nil {
		return 0, wrap(fmt.Sprintf("encrypt the args of %d jobs anew", len(changes)), err)
	}
	return len(done), nil
}

package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// sealedSQL bounds the rows that are looked at, not those that are found.
const sealedSQL = `-- warren: sealed
WITH page AS MATERIALIZED (SELECT id, kind, identifier, args FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2)
SELECT id, kind, coalesce(identifier, ''), args FROM page WHERE args LIKE '%"` + jobstore.SealedMember + `"%'
UNION ALL SELECT coalesce(max(id), 0), '', '', NULL FROM page`

const resealSQL = `-- warren: reseal
UPDATE jobs SET args = ?3 WHERE id = ?1 AND args = ?2`

// Sealed implements jobstore.Resealer.
func (s *Store) Sealed(ctx context.Context, after jobstore.ID, limit int) (jobstore.SealedPage, error) {
	page, err := reading(ctx, s, func(ctx context.Context, q session) (page jobstore.SealedPage, err error) {
		err = q.query(ctx, sealedSQL, []any{after, limit}, func(r row) error {
			var a jobstore.SealedArgs
			var args sql.NullString
			if err := r.Scan(&a.ID, &a.Kind, &a.Identifier, &args); err != nil {
				return err
			}
			if !args.Valid {
				page.Last = a.ID
				return nil
			}
			a.Args = []byte(args.String)
			page.Args = append(page.Args, a)
			return nil
		})
		return page, err
	})
	if err != nil {
		return jobstore.SealedPage{}, s.wrap(fmt.Sprintf("find encrypted args after job %d", after), err)
	}
	return page, nil
}

// Reseal implements jobstore.Resealer.
func (s *Store) Reseal(ctx context.Context, changes []jobstore.Resealed) (int, error) {
	done, err := writing(ctx, s, func(ctx context.Context, q session) (done int, err error) {
		for _, c := range changes {
			n, err := q.exec(ctx, resealSQL, c.ID, string(c.Old), string(c.New))
			if err != nil {
				return 0, err
			}
			done += int(n)
		}
		return done, nil
	})
	if err != nil {
		return 0, s.wrap(fmt.Sprintf("encrypt the args of %d jobs anew", len(changes)), err)
	}
	return done, nil
}

package sqlite

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

const noteSQL = `-- warren: note
UPDATE jobs SET metadata = ?2 WHERE id = ?1`

// Note implements jobstore.Noter.
func (s *Store) Note(ctx context.Context, by jobstore.HolderID, notes []jobstore.Note) error {
	if len(notes) == 0 {
		return nil
	}
	_, err := writing(ctx, s, func(ctx context.Context, q session) (struct{}, error) {
		for i := range notes {
			if err := note(ctx, q, by, &notes[i]); err != nil {
				return struct{}{}, err
			}
		}
		return struct{}{}, nil
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("note the metadata of %d jobs", len(notes)), err)
	}
	return nil
}

// note has the fence of an outcome.
func note(ctx context.Context, q session, by jobstore.HolderID, n *jobstore.Note) error {
	found, err := gather(ctx, q, leasedSQL, scanLeased, n.ID)
	if err != nil || len(found) == 0 || !found[0].under(by, n.LeaseNo) {
		return err
	}
	metadata, err := merged(found[0].metadata.String, n.Metadata)
	if err != nil || metadata == nil {
		return err
	}
	_, err = q.exec(ctx, noteSQL, n.ID, *metadata)
	return err
}

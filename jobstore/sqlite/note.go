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
		return struct{}{}, noteIn(ctx, q, by, notes)
	})
	if err != nil {
		return s.wrap(fmt.Sprintf("note the metadata of %d jobs", len(notes)), err)
	}
	return nil
}

// noteIn has the fence of an outcome.
func noteIn(ctx context.Context, q session, by jobstore.HolderID, notes []jobstore.Note) error {
	for i := range notes {
		n := &notes[i]
		rows, err := leasedOf(ctx, q, []jobstore.ID{n.ID})
		if err != nil {
			return err
		}
		l := rows[n.ID]
		if l == nil || !l.under(by, n.LeaseNo) {
			continue
		}
		metadata, err := merged(l.metadata.String, n.Metadata)
		if err != nil || metadata == nil {
			return err
		}
		if _, err := q.exec(ctx, noteSQL, n.ID, *metadata); err != nil {
			return err
		}
	}
	return nil
}

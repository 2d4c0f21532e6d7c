package postgres

import (
	"context"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// Attempts that begin at the same moment share a statement; two may be under way at once.
const (
	noteFlights   = 2
	noteBatchRows = 500
)

// heldNote is a note and who holds its lease: a batch may carry those of several registrations.
type heldNote struct {
	jobstore.Note
	by jobstore.HolderID
}

// noteSQL has the fence of an outcome. It touches no indexed column.
const noteSQL = `-- warren: note
UPDATE @schema@.jobs_live j
SET metadata = CASE WHEN j.metadata IS NULL THEN n.metadata::jsonb ELSE j.metadata || n.metadata::jsonb END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[]) AS n(holder, id, lease, metadata)
WHERE j.id BETWEEN n.id AND n.id AND j.lease_no = n.lease AND coalesce(j.holder, 0) = n.holder AND j.state || '' = 'PROCESSING'`

// Note implements jobstore.Noter.
func (s *Store) Note(ctx context.Context, by jobstore.HolderID, notes []jobstore.Note) error {
	held := make([]heldNote, len(notes))
	for i, n := range notes {
		held[i] = heldNote{Note: n, by: by}
	}
	if len(held) == 0 {
		return nil
	}
	if _, err := s.note.do(ctx, held); err != nil {
		return wrap(fmt.Sprintf("note the metadata of %d jobs", len(notes)), err)
	}
	return nil
}

func (s *Store) noteBatch(ctx context.Context, notes []heldNote) ([]struct{}, error) {
	n := len(notes)
	holders, ids, leases, metadata := make([]int64, n), make([]int64, n), make([]int64, n), make([]string, n)
	for i, note := range notes {
		holders[i], ids[i], leases[i], metadata[i] = int64(note.by), int64(note.ID), note.LeaseNo, string(note.Metadata)
	}
	return make([]struct{}, n), s.exec(ctx, noteSQL, holders, ids, leases, metadata)
}

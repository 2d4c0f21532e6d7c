package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// requestSQL takes a key, or returns what it stands for. It waits for whoever is just taking the
// same one. Every committed row has an answer: one without is the caller's own.
const requestSQL = `-- warren: request
INSERT INTO @schema@.job_requests AS r (key, digest) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET
  digest     = CASE WHEN r.created_at <= now() - make_interval(secs => $3) THEN excluded.digest ELSE r.digest END,
  answer     = CASE WHEN r.created_at <= now() - make_interval(secs => $3) THEN NULL ELSE r.answer END,
  created_at = CASE WHEN r.created_at <= now() - make_interval(secs => $3) THEN now() ELSE r.created_at END
RETURNING digest, answer`

const answerRequestSQL = `-- warren: answer request
UPDATE @schema@.job_requests SET answer = $2::text::jsonb WHERE key = $1`

// forgetRequestsSQL removes more than one request adds, so that the table holds about a day's.
const forgetRequestsSQL = `-- warren: forget requests
DELETE FROM @schema@.job_requests WHERE key IN (
  SELECT key FROM @schema@.job_requests WHERE created_at <= now() - make_interval(secs => $1)
  ORDER BY created_at LIMIT 4 FOR UPDATE SKIP LOCKED)`

// requestAnswer is one Inserted as it is kept.
type requestAnswer struct {
	ID       jobstore.ID    `json:"id"`
	Queue    string         `json:"queue"`
	Priority int            `json:"priority"`
	State    jobstore.State `json:"state"`
	Existing jobstore.ID    `json:"existing,omitempty"`
}

// InsertOnce implements jobstore.Requester.
func (s *Store) InsertOnce(ctx context.Context, r jobstore.Request, jobs []jobstore.NewJob) (out []jobstore.Inserted, again bool, err error) {
	err = retried(ctx, func() error {
		return s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) (err error) {
			out, again, err = s.insertOnceIn(ctx, tx, r, jobs)
			return err
		})
	})
	if err != nil {
		return nil, false, wrap(fmt.Sprintf("insert %d jobs once", len(jobs)), err)
	}
	return out, again, nil
}

func (s *Store) insertOnceIn(ctx context.Context, tx pgx.Tx, r jobstore.Request, jobs []jobstore.NewJob) ([]jobstore.Inserted, bool, error) {
	var digest, kept []byte
	if err := tx.QueryRow(ctx, s.sql[requestSQL], r.Key, r.Digest[:], jobstore.RequestKept.Seconds()).Scan(&digest, &kept); err != nil {
		return nil, false, err
	}
	switch {
	case !bytes.Equal(digest, r.Digest[:]):
		return nil, false, jobstore.ErrKeyReused
	case kept != nil:
		out, err := readAnswer(kept)
		return out, true, err
	}
	out, err := s.insertIn(ctx, txSession{tx}, jobs)
	if err != nil {
		return nil, false, err
	}
	answer, err := writeAnswer(out)
	if err != nil {
		return nil, false, err
	}
	if _, err := tx.Exec(ctx, s.sql[answerRequestSQL], r.Key, answer); err != nil {
		return nil, false, err
	}
	_, err = tx.Exec(ctx, s.sql[forgetRequestsSQL], jobstore.RequestKept.Seconds())
	return out, false, err
}

func writeAnswer(inserted []jobstore.Inserted) (string, error) {
	list := make([]requestAnswer, len(inserted))
	for i, in := range inserted {
		list[i] = requestAnswer{in.ID, in.Queue, in.Priority, in.State, in.Existing}
	}
	text, err := json.Marshal(list)
	return string(text), err
}

func readAnswer(text []byte) ([]jobstore.Inserted, error) {
	var list []requestAnswer
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("read the answer of an earlier request: %w", err)
	}
	out := make([]jobstore.Inserted, len(list))
	for i, a := range list {
		out[i] = jobstore.Inserted{
			Ref: jobstore.Ref{ID: a.ID, Band: jobstore.Band{Queue: a.Queue, Priority: a.Priority}}, State: a.State, Existing: a.Existing,
		}
	}
	return out, nil
}

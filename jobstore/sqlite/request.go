package sqlite

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/warrenq/warren/jobstore"
)

// forgetRequestsSQL removes more than one request adds, so that the table holds about a day's.
const forgetRequestsSQL = `-- warren: forget requests
DELETE FROM job_requests WHERE key IN (SELECT key FROM job_requests WHERE created_at <= ?1 ORDER BY created_at LIMIT 4) OR key = ?2 AND created_at <= ?1`

const requestSQL = `-- warren: request
SELECT digest, answer FROM job_requests WHERE key = ?1`

const answerRequestSQL = `-- warren: answer request
INSERT INTO job_requests (key, digest, answer, created_at) VALUES (?1, ?2, ?3, ?4)`

// requestAnswer is one Inserted as it is kept.
type requestAnswer struct {
	ID       jobstore.ID    `json:"id"`
	Queue    string         `json:"queue"`
	Priority int            `json:"priority"`
	State    jobstore.State `json:"state"`
	Existing jobstore.ID    `json:"existing,omitempty"`
}

// answered is what a request came to.
type answered struct {
	out   []jobstore.Inserted
	again bool
}

// InsertOnce implements jobstore.Requester.
func (s *Store) InsertOnce(ctx context.Context, r jobstore.Request, jobs []jobstore.NewJob) (out []jobstore.Inserted, again bool, err error) {
	got, err := writing(ctx, s, func(ctx context.Context, q session) (answered, error) {
		return s.insertOnceIn(ctx, q, r, jobs)
	})
	if err != nil {
		return nil, false, s.wrap(fmt.Sprintf("insert %d jobs once", len(jobs)), err)
	}
	return got.out, got.again, nil
}

func (s *Store) insertOnceIn(ctx context.Context, q session, r jobstore.Request, jobs []jobstore.NewJob) (got answered, err error) {
	now := s.now()
	if _, err := q.exec(ctx, forgetRequestsSQL, stamp(now.Add(-jobstore.RequestKept)), r.Key); err != nil {
		return got, err
	}
	digest := hex.EncodeToString(r.Digest[:])
	err = q.query(ctx, requestSQL, []any{r.Key}, func(row row) error {
		var first, answer string
		if err := row.Scan(&first, &answer); err != nil {
			return err
		}
		if first != digest {
			return jobstore.ErrKeyReused
		}
		got.again = true
		got.out, err = readAnswer(answer)
		return err
	})
	if err != nil || got.again {
		return got, err
	}
	if got.out, err = s.insertIn(ctx, q, jobs); err != nil {
		return got, err
	}
	_, err = q.exec(ctx, answerRequestSQL, r.Key, digest, writeAnswer(got.out), stamp(now))
	return got, err
}

func writeAnswer(inserted []jobstore.Inserted) string {
	answers := make([]requestAnswer, len(inserted))
	for i, in := range inserted {
		answers[i] = requestAnswer{in.ID, in.Queue, in.Priority, in.State, in.Existing}
	}
	return list(answers)
}

func readAnswer(text string) ([]jobstore.Inserted, error) {
	var answers []requestAnswer
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return nil, fmt.Errorf("read the answer of an earlier request: %w", err)
	}
	out := make([]jobstore.Inserted, len(answers))
	for i, a := range answers {
		out[i] = jobstore.Inserted{
			Ref: jobstore.Ref{ID: a.ID, Band: jobstore.Band{Queue: a.Queue, Priority: a.Priority}}, State: a.State, Existing: a.Existing,
		}
	}
	return out, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/warrenq/warren/jobstore"
)

// explainSQL reads what is about no other job.
const explainSQL = `-- warren: explain
SELECT coalesce((SELECT l.holder FROM warren_leaders l WHERE l.name = 'sweep' AND l.expires_at > ?1), ''),
  coalesce((SELECT k.job_id FROM job_keys k WHERE k.kind = ?2 AND k.identifier = ?3), 0),
  (SELECT p.paused_at FROM warren_paused_queues p WHERE p.queue = ?4 AND p.until > ?1),
  (SELECT p.until FROM warren_paused_queues p WHERE p.queue = ?4 AND p.until > ?1 AND p.until < '` + forever + `')`

const explainPositionSQL = `-- warren: explain position
SELECT count(*) FROM (
  SELECT 1 FROM jobs WHERE state = 'READY' AND serial_group IS NULL AND queue = ?1 AND priority = ?2 AND id < ?3 AND available_at <= ?4 LIMIT ?5)`

// Explain implements jobstore.Explainer. All of its statements see the same moment.
func (s *Store) Explain(ctx context.Context, id jobstore.ID) (jobstore.Facts, error) {
	f, err := snapshot(ctx, s, func(ctx context.Context, q session) (jobstore.Facts, error) {
		f := jobstore.Facts{Now: s.now()}
		jobs, err := gather(ctx, q, getSQL, scanJob, id)
		if err != nil {
			return f, err
		}
		if len(jobs) == 0 {
			return f, jobstore.ErrNotFound
		}
		f.Job = jobs[0]
		return f, s.explainIn(ctx, q, &f)
	})
	if err != nil {
		return jobstore.Facts{}, s.wrap(fmt.Sprintf("job %d", id), err)
	}
	return f, nil
}

func (s *Store) explainIn(ctx context.Context, q session, f *jobstore.Facts) error {
	now := stamp(f.Now)
	err := q.query(ctx, explainSQL, []any{now, f.Job.Kind, f.Job.Identifier, f.Job.Queue}, func(r row) error {
		var paused, until sql.NullString
		err := r.Scan(&f.Leader, &f.KeyHolder, &paused, &until)
		f.PausedAt, f.PausedUntil = readOptional(paused), readOptional(until)
		return err
	})
	if err != nil {
		return err
	}
	pauses, err := pausesIn(ctx, q, f.Now)
	if err != nil {
		return err
	}
	for _, p := range pauses {
		if p.Of == jobstore.PauseOfAll || (p.Of == jobstore.PauseOfKind || p.Of == jobstore.PauseOfDisabled) && p.Name == f.Job.Kind ||
			p.Of == jobstore.PauseOfGroup && p.Name == f.Job.SerialGroup {
			f.Pauses = append(f.Pauses, p)
		}
	}
	consumers, err := s.consumersIn(ctx, q)
	if err != nil {
		return err
	}
	for _, c := range consumers {
		f.Takers = append(f.Takers, taker(&c, &f.Job))
	}
	if f.Job.State.Final() {
		return nil
	}
	for i := range f.Takers {
		if f.Takers[i].ID == f.Job.Holder {
			f.Holder = &f.Takers[i]
		}
	}
	if f.Job.State == jobstore.Processing {
		return nil
	}
	if f.Blocker, err = explainBlocker(ctx, q, f); err != nil {
		return err
	}
	if f.Crowds, err = s.explainCrowds(ctx, q, f, consumers); err != nil {
		return err
	}
	n, err := gather(ctx, q, explainPositionSQL, scanInt, f.Job.Queue, f.Job.Priority, f.Job.ID, now, jobstore.MaxPosition)
	if err == nil {
		f.Position = n[0]
	}
	return err
}

// taker is a consumer with what it could do for one job.
func taker(c *jobstore.ConsumerInfo, j *jobstore.Job) jobstore.Taker {
	t := jobstore.Taker{
		ID: c.ID, Name: c.Name, Host: c.Host, PID: c.PID, ExpiresAt: c.ExpiresAt, Alive: c.Alive, Restarting: c.Restarting, Force: c.Force,
		TakesBand: slices.Contains(c.Queues, j.Queue) && slices.Contains(c.Priorities, j.Priority),
		KnowsKind: slices.Contains(c.Kinds, j.Kind), Bands: []string{},
	}
	priorities := make([]string, len(c.Priorities))
	for i, p := range c.Priorities {
		priorities[i] = strconv.Itoa(p)
	}
	for _, queue := range c.Queues {
		t.Bands = append(t.Bands, queue+"/"+strings.Join(priorities, ","))
	}
	return t
}

// explainBlocker finds what a claim of the job would stumble over.
func explainBlocker(ctx context.Context, q session, f *jobstore.Facts) (*jobstore.Blocker, error) {
	if f.Job.SerialGroup == "" {
		return nil, nil
	}
	id, err := blocker(ctx, q, f.Job.SerialGroup, f.Job.Priority, f.Job.ID)
	if err != nil || id == 0 {
		return nil, err
	}
	jobs, err := gather(ctx, q, getSQL, scanJob, id)
	if err != nil || len(jobs) == 0 {
		return nil, err
	}
	j := &jobs[0]
	b := &jobstore.Blocker{
		ID: id, State: j.State, Running: j.State == jobstore.Processing, Host: j.Host, PID: j.PID,
		AttemptedAt: j.AttemptedAt, AvailableAt: j.AvailableAt,
	}
	b.Dead = b.Running && !slices.ContainsFunc(f.Takers, func(t jobstore.Taker) bool { return t.ID == j.Holder && t.Alive })
	return b, nil
}

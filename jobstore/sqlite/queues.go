package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"github.com/warrenq/warren/jobstore"
)

const queuesSQL = `-- warren: queues
SELECT queue, priority, state, count(*), min(available_at) FROM jobs
WHERE state NOT IN ('FINISHED', 'REDUNDANT', 'CANCELLED') GROUP BY queue, priority, state`

const pausesSQL = `-- warren: pauses
SELECT queue, until FROM warren_paused_queues WHERE until > ?1`

// Queues implements jobstore.Queues.
func (s *Store) Queues(ctx context.Context) ([]jobstore.QueueInfo, error) {
	got, err := snapshot(ctx, s, s.queuesIn)
	if err != nil {
		return nil, s.wrap("list queues", err)
	}
	return got, nil
}

func (s *Store) queuesIn(ctx context.Context, q session) ([]jobstore.QueueInfo, error) {
	now := s.now()
	bands := map[jobstore.Band]*jobstore.BandInfo{}
	at := func(b jobstore.Band) *jobstore.BandInfo {
		if bands[b] == nil {
			bands[b] = &jobstore.BandInfo{Priority: b.Priority}
		}
		return bands[b]
	}
	err := q.query(ctx, queuesSQL, nil, func(r row) error {
		var b jobstore.Band
		var state jobstore.State
		var n int
		var oldest sql.NullString
		err := r.Scan(&b.Queue, &b.Priority, &state, &n, &oldest)
		count(at(b), state, n, since(now, oldest))
		return err
	})
	if err != nil {
		return nil, err
	}
	consumers, err := s.consumersIn(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, c := range consumers {
		if !c.Alive {
			continue
		}
		for _, queue := range sortedSet(c.Queues) {
			for _, priority := range sortedSet(c.Priorities) {
				at(jobstore.Band{Queue: queue, Priority: priority}).Consumers++
			}
		}
	}
	queues := map[string]*jobstore.QueueInfo{}
	named := func(name string) *jobstore.QueueInfo {
		if queues[name] == nil {
			queues[name] = &jobstore.QueueInfo{Queue: name, Bands: []jobstore.BandInfo{}}
		}
		return queues[name]
	}
	for b, info := range bands {
		named(b.Queue).Bands = append(named(b.Queue).Bands, *info)
	}
	err = q.query(ctx, pausesSQL, []any{stamp(now)}, func(r row) error {
		var name, until string
		err := r.Scan(&name, &until)
		named(name).Paused = true
		if until != forever {
			named(name).Until = new(read(until))
		}
		return err
	})
	out := make([]jobstore.QueueInfo, 0, len(queues))
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		slices.SortFunc(queues[name].Bands, func(a, b jobstore.BandInfo) int { return cmp.Compare(a.Priority, b.Priority) })
		out = append(out, *queues[name])
	}
	return out, err
}

// count adds the jobs of one state to a band.
func count(b *jobstore.BandInfo, state jobstore.State, n int, oldest time.Duration) {
	switch state {
	case jobstore.Ready:
		b.Ready += n
		b.Oldest = oldest
	case jobstore.BackToBroker, jobstore.BrokerFailed:
		b.Ready += n
	case jobstore.Scheduled:
		b.Scheduled += n
	case jobstore.Waiting:
		b.Waiting += n
	case jobstore.TemporarilyFailed:
		b.Retrying += n
	case jobstore.Processing:
		b.Processing += n
	case jobstore.PermanentlyFailed, jobstore.Quarantined:
		b.Failed += n
	case jobstore.Finished, jobstore.Redundant, jobstore.Cancelled:
	}
}

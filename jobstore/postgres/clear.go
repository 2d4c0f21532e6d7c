package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/warrenq/warren/jobstore"
)

// clearSQL goes through an index by the time of the end. It begins where the last batch ended:
// from the start of the index it would pass every entry that earlier batches have left dead,
// which stay for as long as any old snapshot is open. Nobody else writes these rows. The numbers
// pass through an array, because the planner takes a LIMIT that it does not know for a tenth of
// the table, and would read the whole of it for each batch.
const clearSQL = `-- warren: clear
WITH past AS MATERIALIZED (
  SELECT h.id, h.finished_at FROM @schema@.jobs_history h
  WHERE h.state = $1 AND h.finished_at <= now() - make_interval(secs => $2::bigint / 1e6) AND h.finished_at >= $3
  ORDER BY h.finished_at LIMIT $4
  FOR UPDATE SKIP LOCKED
),
gone AS (
  DELETE FROM @schema@.jobs_history h USING unnest(ARRAY(SELECT id FROM past)) AS w(id) WHERE h.id = w.id RETURNING h.id
)
SELECT (SELECT count(*) FROM gone), coalesce((SELECT max(finished_at) FROM past), $3)`

// Clear implements jobstore.Housekeeper.
func (s *Store) Clear(ctx context.Context, state jobstore.State, age time.Duration, from time.Time, limit int) (gone int, next time.Time, err error) {
	err = s.do(ctx, clearSQL, []any{string(state), age.Microseconds(), from, limit}, nil, func(r pgx.Rows) error {
		return r.Scan(&gone, &next)
	})
	if err != nil {
		return 0, from, wrap("clear "+string(state)+" jobs", err)
	}
	return gone, next, nil
}

const endedSQL = `-- warren: ended
SELECT count(*) FROM @schema@.jobs_history h WHERE h.state = $1 AND h.finished_at <= now() - make_interval(secs => $2::bigint / 1e6)`

// Ended implements jobstore.Housekeeper.
func (s *Store) Ended(ctx context.Context, state jobstore.State, age time.Duration) (int, error) {
	n, err := bulk(ctx, s, endedSQL, scanInt, string(state), age.Microseconds())
	if err != nil {
		return 0, wrap("count "+string(state)+" jobs", err)
	}
	return int(n[0]), nil
}

// compactSQL may have to wait, but nobody who reads or writes rows waits behind it: the server's
// own vacuum gives way to it, and it gives up cutting off the end of the file when somebody wants
// the table.
const compactSQL = `VACUUM @schema@.jobs_history`

// Compact implements jobstore.Housekeeper, on a connection of its own: the protocol's time limits
// are not for this.
func (s *Store) Compact(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, bulkTimeout)
	defer cancel()
	conf := s.direct.Copy()
	done := true
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		done = done && n.SeverityUnlocalized != "WARNING" // such as: not allowed, skipped
	}
	conn, err := pgx.ConnectConfig(ctx, conf)
	if err != nil {
		return false, wrap("connect to vacuum", err)
	}
	defer closeConn(ctx, conn)
	// The first vacuum empties pages of indexes. They go to new rows after another one, when a
	// transaction has begun and ended in between.
	for _, text := range []string{compactSQL, "SELECT pg_current_xact_id()", compactSQL} {
		if _, err := conn.Exec(ctx, s.withSchema(text), pgx.QueryExecModeSimpleProtocol); err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return false, nil // it can be done at any other time
			}
			return false, wrap("vacuum the history", err)
		}
	}
	return done, nil
}

// bulk is gather for a statement that reads many rows.
func bulk[T any](ctx context.Context, s *Store, sql string, scan func(pgx.Rows) (T, error), args ...any) (out []T, err error) {
	err = s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) (err error) {
		out, err = gatherIn(ctx, txSession{tx}, s.sql[sql], scan, args...)
		return err
	})
	return out, err
}

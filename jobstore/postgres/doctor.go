package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

var _ jobstore.Examiner = (*Store)(nil)

// Examine implements jobstore.Examiner.
func (s *Store) Examine(ctx context.Context) []jobstore.Finding {
	schema := s.examineSchema(ctx)
	out := []jobstore.Finding{schema}
	checks := []func(context.Context) ([]jobstore.Finding, error){s.examineServer, s.examineClock}
	if schema.Status == jobstore.StatusOK {
		checks = append(checks, s.examineRights, s.examinePlans, s.examineWork)
	}
	for _, check := range checks {
		found, err := check(ctx)
		out = append(out, found...)
		if err != nil {
			out = append(out, jobstore.Finding{Check: "examination", Status: jobstore.StatusFail, Value: err.Error(), Remedy: "mend what it says, and run the doctor again"})
		}
	}
	return out
}

func (s *Store) examineSchema(ctx context.Context) jobstore.Finding {
	f := jobstore.Finding{Check: "schema", Status: jobstore.StatusOK}
	list, err := s.Migrations(ctx)
	if err == nil {
		err = s.Check(ctx)
	}
	if err != nil {
		f.Status, f.Value, f.Remedy = jobstore.StatusFail, err.Error(), "run 'warren migrate up' as a user who may"
		return f
	}
	f.Value = fmt.Sprintf("%s, migration %d of %d", s.schema, len(list), len(list))
	return f
}

const examineServerSQL = `-- warren: examine server
SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'),
       current_setting('statement_timeout'), current_setting('lock_timeout')`

// examineServer looks at versions and settings. Versions below 14 and standbys have been refused by Open.
func (s *Store) examineServer(ctx context.Context) ([]jobstore.Finding, error) {
	var version, fsync, synchronous, statement, lock string
	err := s.do(ctx, examineServerSQL, nil, nil, func(r pgx.Rows) error {
		return r.Scan(&version, &fsync, &synchronous, &statement, &lock)
	})
	if err != nil {
		return nil, wrap("look at the server's settings", err)
	}
	setting := func(name, value, remedy string) jobstore.Finding {
		f := jobstore.Finding{Check: name, Status: jobstore.StatusOK, Value: value}
		if value == "off" {
			f.Status, f.Remedy = jobstore.StatusWarn, remedy
		}
		return f
	}
	timeouts := jobstore.Finding{Check: "timeouts", Status: jobstore.StatusOK, Value: "statement_timeout " + statement + ", lock_timeout " + lock}
	if s.local { // the lock's is set by the same statement that reads it
		timeouts.Value = "statement_timeout " + statement
	}
	if statement != "3s" {
		timeouts.Status, timeouts.Remedy = jobstore.StatusFail, "protocol statements must end after 3s: something between here and the server drops settings; connect directly or report it"
	}
	pooler := jobstore.Finding{Check: "pooler", Status: jobstore.StatusOK, Value: "none noticed"}
	if s.local {
		pooler.Value = "a transaction pooler: settings travel with each statement"
		if s.pooled {
			pooler.Value += "; without a broker, jobs may start 1s later, because there is no LISTEN"
		}
	}
	return []jobstore.Finding{
		{Check: "PostgreSQL", Status: jobstore.StatusOK, Value: version},
		setting("fsync", fsync, "switch it on: a crash of the server can lose committed jobs and damage its files"),
		setting("synchronous_commit", synchronous, "switch it on: a crash of the server can lose jobs of its last moments"),
		timeouts, pooler,
	}, nil
}

const examineClockSQL = `-- warren: examine clock
SELECT clock_timestamp()`

// examineClock compares the database's clock with the middle of a round trip on this host's.
func (s *Store) examineClock(ctx context.Context) ([]jobstore.Finding, error) {
	if err := s.exec(ctx, examineClockSQL); err != nil { // so that no connecting is in the round trip
		return nil, wrap("read the clock", err)
	}
	began := time.Now()
	var theirs time.Time
	err := s.do(ctx, examineClockSQL, nil, nil, func(r pgx.Rows) error { return r.Scan(&theirs) })
	if err != nil {
		return nil, wrap("read the clock", err)
	}
	return []jobstore.Finding{jobstore.ClockFinding(began.Add(time.Since(began) / 2).Sub(theirs))}, nil
}

// examineRightsSQL lists what the login lacks of what the programs need.
const examineRightsSQL = `-- warren: examine rights
SELECT current_user::text, coalesce(string_agg(what, ', ' ORDER BY what), '') FROM (
  SELECT 'USAGE on schema ' || n.nspname AS what FROM pg_catalog.pg_namespace n
  WHERE n.nspname = $1 AND NOT has_schema_privilege(n.oid, 'USAGE')
  UNION ALL
  SELECT p.name || ' on ' || c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN unnest(CASE WHEN c.relname = 'schema_migrations' THEN '{SELECT}'::text[] ELSE '{SELECT,INSERT,UPDATE,DELETE}' END) AS p(name)
  WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(c.oid, p.name)
  UNION ALL
  SELECT 'USAGE on jobs_id_seq' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = 'jobs_id_seq' AND NOT has_sequence_privilege(c.oid, 'USAGE')
  UNION ALL
  SELECT 'EXECUTE on ' || f.proname FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
  WHERE n.nspname = $1 AND NOT has_function_privilege(f.oid, 'EXECUTE')
) lacks`

func (s *Store) examineRights(ctx context.Context) ([]jobstore.Finding, error) {
	var user, lacks string
	err := s.do(ctx, examineRightsSQL, []any{s.schema}, nil, func(r pgx.Rows) error { return r.Scan(&user, &lacks) })
	if err != nil {
		return nil, wrap("look at the rights of this user", err)
	}
	f := jobstore.Finding{Check: "database rights", Status: jobstore.StatusOK, Value: user + " may do what the programs need"}
	if lacks != "" {
		f.Status, f.Value = jobstore.StatusFail, user+" lacks "+lacks
		f.Remedy = "as the owner: GRANT " + pgx.Identifier{s.schema + "_app"}.Sanitize() + " TO " + pgx.Identifier{user}.Sanitize()
	}
	return []jobstore.Finding{f}, nil
}

// examinePlans asks for the plans of hot statements. Scans of the whole table are forbidden to
// them, so that one appears only where an index is missing.
func (s *Store) examinePlans(ctx context.Context) ([]jobstore.Finding, error) {
	one, band := []int64{1}, []any{[]string{"q"}, []int32{10}}
	who := []any{int64(1), int64(1), nil, int32(1), []string{"q"}, []int32{10}, []string{"k"}}
	var slow []string
	err := s.inTx(ctx, false, func(ctx context.Context, tx pgx.Tx) error {
		for _, hot := range []struct {
			name, sql string
			args      []any
		}{
			{"claim", claimSQL, append(who[:7:7], one)},
			{"plain claim", claimPlainSQL, append(who[:7:7], one)},
			{"plain claim next", claimNextPlainSQL, append(who[:7:7], 10, 74, nil)},
			{"claim next", claimNextSQL, append(who[:7:7], 10, 74, nil)},
			{"look", lookSQL, []any{one}},
			{"due", dueSQL, []any{10, one}},
			{"outbox", outboxSQL, []any{10}},
			{"oldest", oldestSQL, band},
			{"heads", headsSQL, []any{10}},
		} {
			scans, err := scansLive(ctx, tx, s.sql[hot.sql], hot.args)
			if err != nil {
				return fmt.Errorf("plan of %s: %w", hot.name, err)
			}
			if scans {
				slow = append(slow, hot.name)
			}
		}
		return nil
	})
	if err != nil {
		return nil, wrap("look at plans", err)
	}
	f := jobstore.Finding{Check: "plans", Status: jobstore.StatusOK, Value: "no hot statement scans jobs_live"}
	if len(slow) > 0 {
		f.Status, f.Value = jobstore.StatusFail, "these scan all of jobs_live: "+strings.Join(slow, ", ")
		f.Remedy = "an index is missing or invalid: compare \\d " + s.schema + ".jobs_live with 'warren migrate sql', make it again with CREATE INDEX CONCURRENTLY"
	}
	return []jobstore.Finding{f}, nil
}

// plan is as much of a plan as matters here.
type plan struct {
	Type     string `json:"Node Type"`
	Relation string `json:"Relation Name"`
	Plans    []plan `json:"Plans"`
}

func (p plan) scans(table string) bool {
	if p.Type == "Seq Scan" && p.Relation == table {
		return true
	}
	for _, below := range p.Plans {
		if below.scans(table) {
			return true
		}
	}
	return false
}

// scansLive explains a statement, which does not run it.
func scansLive(ctx context.Context, tx pgx.Tx, sql string, args []any) (bool, error) {
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) "+sql, append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&text); err != nil {
		return false, err
	}
	var plans []struct{ Plan plan }
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
		return false, errors.Join(errors.New("the plan cannot be read"), err)
	}
	return plans[0].Plan.scans("jobs_live"), nil
}

const examineWorkSQL = `-- warren: examine work
SELECT coalesce((SELECT l.holder FROM @schema@.leaders l WHERE l.name = 'sweep' AND l.expires_at > clock_timestamp()), ''),
       (SELECT count(*) FROM @schema@.consumers WHERE expires_at > clock_timestamp()),
       o.n, o.age, r.n, r.age
FROM (SELECT count(*) AS n, coalesce(extract(epoch FROM now() - min(announce_at))::float8, 0) AS age
      FROM @schema@.jobs_live WHERE announce_at <= now() AND state || '' = 'READY') o,
     (SELECT count(*) AS n, coalesce(extract(epoch FROM now() - min(available_at))::float8, 0) AS age
      FROM @schema@.jobs_live WHERE state || '' = 'READY' AND available_at <= now()) r`

// examineWork looks at who sweeps and at what waits. It counts rows, and has bulkTimeout to do so.
func (s *Store) examineWork(ctx context.Context) ([]jobstore.Finding, error) {
	var leader string
	var alive, outbox, ready int64
	var outboxAge, readyAge float64
	err := s.inTx(ctx, true, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, s.sql[examineWorkSQL]).Scan(&leader, &alive, &outbox, &outboxAge, &ready, &readyAge)
	})
	if err != nil {
		return nil, wrap("look at what waits", err)
	}
	sweep := jobstore.Finding{Check: "leader", Status: jobstore.StatusOK, Value: leader + " sweeps"}
	switch {
	case leader != "":
	case alive > 0:
		sweep.Status, sweep.Value, sweep.Remedy = jobstore.StatusWarn, "nobody sweeps", "a living consumer takes over within 15s; if none does, read their logs"
	default:
		sweep.Status, sweep.Value, sweep.Remedy = jobstore.StatusWarn, "nobody sweeps, and no consumer is alive", "start one with 'consumer run'"
	}
	return []jobstore.Finding{
		sweep,
		jobstore.OutboxFinding(outbox, seconds(outboxAge)),
		jobstore.BacklogFinding(ready, seconds(readyAge)),
	}, nil
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

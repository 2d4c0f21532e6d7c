#!/usr/bin/env bash
# Compares a plain table of jobs with one that is partitioned by "may still run": work at batches
# of 500 beside a long history, vacuum, and clearing a million finished rows under load.
#
#   DATABASE_URL=postgres://…/scratch ROWS=10000000 SECONDS_EACH=20 ./partitioning.sh
#
# It drops and makes the schemas plain and split in that database, and needs psql and pgbench.
# docs/decisions/0002-partitioning.md has what came out.
set -euo pipefail
: "${DATABASE_URL:?names a scratch database}" "${ROWS:=10000000}" "${SECONDS_EACH:=20}" "${LIVE:=20000}"
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
sql() { psql -X -q -A -t -v ON_ERROR_STOP=1 "$DATABASE_URL" "$@"; }
timed() { local from; from=$(date +%s%N); "$@" >/dev/null; echo "$(( ($(date +%s%N) - from) / 1000000 )) ms"; }

columns='id bigint NOT NULL, lease_no bigint NOT NULL DEFAULT 0, holder bigint, state text NOT NULL, queue text NOT NULL,
  kind text NOT NULL, priority smallint NOT NULL, attempts int NOT NULL DEFAULT 0, created_at timestamptz NOT NULL DEFAULT now(),
  available_at timestamptz NOT NULL DEFAULT now(), attempted_at timestamptz, finished_at timestamptz, serial_group text,
  args jsonb NOT NULL'
args="'{\"to\": \"someone@example.org\", \"subject\": \"$(printf 'x%.0s' {1..150})\"}'"
vacuum='autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0'
rows="SELECT n, 'FINISHED', 'default', 'k', 10, now() - n * interval '0.05 s', $args FROM generate_series(1, $ROWS) n"
into='(id, state, queue, kind, priority, finished_at, args)'

fill() { # schema, table of the history
  sql -c "INSERT INTO $1.$2 $into $rows"
}
build_plain() {
  sql -c "DROP SCHEMA IF EXISTS plain CASCADE; CREATE SCHEMA plain; CREATE SEQUENCE plain.ids START $((ROWS + 1));
    CREATE TABLE plain.jobs ($columns) WITH ($vacuum)"
  fill plain jobs
  sql -c "CREATE UNIQUE INDEX ON plain.jobs (id); CREATE INDEX ON plain.jobs (state, finished_at) WHERE finished_at IS NOT NULL;
    CREATE INDEX ON plain.jobs (queue, priority, id) WHERE state = 'READY';
    CREATE INDEX ON plain.jobs (holder) WHERE holder IS NOT NULL"
}
build_split() {
  sql -c "DROP SCHEMA IF EXISTS split CASCADE; CREATE SCHEMA split; CREATE SEQUENCE split.ids START $((ROWS + 1));
    CREATE TABLE split.jobs ($columns) PARTITION BY LIST (state);
    CREATE TABLE split.live PARTITION OF split.jobs FOR VALUES IN ('READY', 'PROCESSING') WITH ($vacuum);
    CREATE TABLE split.history PARTITION OF split.jobs FOR VALUES IN ('FINISHED')"
  fill split history
  sql -c "CREATE UNIQUE INDEX ON split.history (id); CREATE INDEX ON split.history (state, finished_at);
    CREATE UNIQUE INDEX ON split.live (id); CREATE INDEX ON split.live (queue, priority, id) WHERE state = 'READY';
    CREATE INDEX ON split.live (holder) WHERE holder IS NOT NULL"
}

claim() { # table
  echo "WITH l AS MATERIALIZED (SELECT id FROM $1 WHERE state = 'READY' AND queue = 'default' AND priority = 10 ORDER BY id LIMIT 500
      FOR NO KEY UPDATE SKIP LOCKED)
    UPDATE $1 j SET state = 'PROCESSING', holder = :client_id + 1, lease_no = lease_no + 1, attempts = attempts + 1, attempted_at = now()
    FROM l WHERE j.id = l.id;"
}
insert() { # schema, table
  echo "INSERT INTO $1.$2 $into SELECT nextval('$1.ids'), 'READY', 'default', 'k', 10, NULL, $args FROM generate_series(1, 500);"
}
mine() { echo "SELECT id FROM $1 WHERE holder = :client_id + 1 AND state || '' = 'PROCESSING'"; }
{ insert plain jobs; claim plain.jobs
  echo "WITH m AS MATERIALIZED ($(mine plain.jobs)) UPDATE plain.jobs j SET state = 'FINISHED', holder = NULL, finished_at = now()
    FROM m WHERE j.id = m.id;"; } > "$dir/plain.sql"
{ insert split live; claim split.live
  echo "WITH m AS MATERIALIZED ($(mine split.live)), d AS (DELETE FROM split.live j USING m WHERE j.id = m.id RETURNING j.*)
    INSERT INTO split.history SELECT id, lease_no, NULL, 'FINISHED', queue, kind, priority, attempts, created_at, available_at,
    attempted_at, now(), serial_group, args FROM d;"; } > "$dir/split.sql"

work() { # schema
  pgbench -n -M prepared -c 2 -j 1 -T "$SECONDS_EACH" -f "$dir/$1.sql" "$DATABASE_URL" |
    awk '/^tps/ {printf "%.0f jobs/s inserted, claimed and finished", $3 * 500}'
}
clear() { # table: at most a million rows, 5000 at a time
  for _ in $(seq 200); do
    sql -c "DELETE FROM $1 WHERE ctid = ANY (ARRAY(SELECT ctid FROM $1 WHERE state = 'FINISHED' AND finished_at < now() - interval '1 h'
      ORDER BY finished_at LIMIT 5000 FOR UPDATE SKIP LOCKED))"
  done
}

for s in plain split; do
  live=$s.jobs; history=$s.jobs; part=jobs
  if [ $s = split ]; then live=split.live; history=split.history; part=live; fi
  echo "== $s, $ROWS finished rows"
  echo "build: $(timed build_$s)"
  sql -c "INSERT INTO $s.$part $into SELECT nextval('$s.ids'), 'READY', 'default', 'k', 10, NULL, $args FROM generate_series(1, $LIVE)"
  echo "vacuum analyze: $(timed sql -c "VACUUM ANALYZE $live")"
  for round in 1 2; do echo "work, round $round: $(work $s)"; done
  # The same work for both, with autovacuum held back: what it costs does not depend on the noise.
  sql -c "VACUUM $live"; sql -c "ALTER TABLE $live SET (autovacuum_enabled = off); CHECKPOINT"
  wal=$(sql -c "SELECT pg_current_wal_lsn()")
  pgbench -n -M prepared -c 1 -t 200 -f "$dir/$s.sql" "$DATABASE_URL" >/dev/null
  echo "WAL of 100000 jobs: $(sql -c "SELECT (pg_current_wal_lsn() - '$wal') / 100000") bytes each"
  from=$(date +%s%N)
  sql -c "VACUUM (VERBOSE) $live" 2>&1 | awk '/buffer usage/ {print "vacuum of what is claimed from, after 100000 jobs:", $0} /buffer usage/ {exit}'
  echo "and it took $(( ($(date +%s%N) - from) / 1000000 )) ms"
  sql -c "ALTER TABLE $live RESET (autovacuum_enabled)"
  clear "$history" & cleaner=$!
  from=$(date +%s%N)
  echo "work while a million finished rows are cleared: $(work $s)"
  wait $cleaner
  echo "clearing took at most $(( ($(date +%s%N) - from) / 1000000 )) ms"
  echo "vacuum of the history after it: $(timed sql -c "VACUUM $history")"
  echo "size: $(sql -c "SELECT pg_size_pretty(sum(pg_total_relation_size(c.oid))) FROM pg_class c WHERE relnamespace = '$s'::regnamespace AND relkind = 'r'")"
  sql -c "DROP SCHEMA $s CASCADE"
done

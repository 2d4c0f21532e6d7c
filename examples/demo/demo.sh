#!/usr/bin/env bash
# The main job, for real: jobs from a file become rows, their numbers travel over RabbitMQ, and two
# consumers with different ranges run them side by side. `make demo-servers` runs this with private servers;
# with DATABASE_URL and AMQP_URL it works on yours.
set -euo pipefail

export DATABASE_URL=${DATABASE_URL:-${WARREN_TEST_DATABASE_URL:?set DATABASE_URL, or run make demo-servers}}
export AMQP_URL=${AMQP_URL:-${WARREN_TEST_AMQP_URL:-none}}
# A schema and a prefix of the demo's own: nothing else is touched.
export WARREN_SCHEMA=warren_demo WARREN_QUEUE_PREFIX=warren-demo WARREN_LOG_LEVEL=warn

bin=$(cd "${BIN:-bin}" && pwd)
export PATH="$bin:$PATH"
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*"; }

cat > warren.yaml <<'YAML'
priorities: [10, 20, 30, 40]
kinds:
  probe: {probe: {}, backoff: [1s]}
YAML

say '1. The schema, made on first use'
warren migrate up

say '2. 400 jobs over four priorities; every tenth fails once'
for i in $(seq 0 399); do
	fail=0; [ $((i % 10)) -ne 0 ] || fail=1
	printf '{"kind":"probe","priority":%d,"args":{"sleep":"5ms","fail_times":%d}}\n' $(((i % 4 + 1) * 10)) "$fail"
done > jobs.jsonl
producer import jobs.jsonl
warren stats

say '3. Two consumers side by side: -p -20 and -p 25-'
consumer run -p -20 -c 4 & first=$!
consumer run -p 25- -c 4 & second=$!
until [ "$(warren jobs list --state FINISHED --limit 1000 -o jsonl | wc -l)" -ge 400 ]; do
	sleep 0.5
	warren stats -o jsonl | sed 's/.*"total":{\([^}]*\)}.*/   \1/' | tr -d '"' | tr ',' '\n' | grep -v ':0$' | tr '\n' ' '
	echo
done
kill -TERM "$first" "$second"
wait

say '4. What came of it'
warren stats
warren jobs list --limit 5

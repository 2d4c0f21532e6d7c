#!/usr/bin/env bash
# What memory the shipped consumer takes while a million jobs and more wait behind it, minute by minute:
#
#   bench/memory.sh [MINUTES] [JOBS]     # default 30 and 2000000
#
# On private servers, with a broker. Handlers sleep for 20 ms, in ten slots.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
minutes=${1:-30} jobs=${2:-2000000}

if [ -z "${WARREN_TEST_DATABASE_URL:-}" ]; then
	mkdir -p .bin
	go build -o .bin/with-servers ./internal/testenv/cmd/with-servers
	exec .bin/with-servers -- bash bench/memory.sh "$minutes" "$jobs"
fi
export DATABASE_URL=$WARREN_TEST_DATABASE_URL AMQP_URL=$WARREN_TEST_AMQP_URL
dir=$(mktemp -d)
trap 'kill "${consumer:-0}" 2>/dev/null || true; wait; rm -rf "$dir"' EXIT
go build -o "$dir" ./cmd/warren ./cmd/consumer
cd "$dir"
printf 'kinds:\n  probe: {probe: {}}\n' >warren.yaml
./warren update-schema >/dev/null
psql -q "$DATABASE_URL" -c "INSERT INTO warren.jobs (priority, queue, kind, announce_at, args)
	SELECT 10, 'default', 'probe', now(), '{\"sleep\": \"20ms\"}' FROM generate_series(1, $jobs)" -c "VACUUM ANALYZE warren.jobs_live"
./consumer run -c 10 --log-level warn &
consumer=$!

left() { psql -qAt "$DATABASE_URL" -c "SELECT count(*) FROM warren.jobs_live"; }
memory() { awk -v key="$1:" '$1 == key { printf "%.1f", $2 / 1024 }' "/proc/$consumer/status"; }

echo "minute  MB now  MB at most  jobs left"
for ((m = 0; m <= minutes; m++)); do
	[ "$m" -eq 0 ] && sleep 10 || sleep 60
	printf '%6d  %6s  %10s  %9s\n' "$m" "$(memory VmRSS)" "$(memory VmHWM)" "$(left)"
done

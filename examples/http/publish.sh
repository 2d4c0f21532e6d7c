#!/bin/sh
# Publish a receipt for an order over HTTP: publish.sh ORDER. Prints what became of the job.
set -eu

url=${WARREN_URL:-http://127.0.0.1:8080}
order=${1:-}
case $order in
'' | *[!0-9]* | 0*) echo 'usage: publish.sh ORDER' >&2; exit 2 ;;
esac
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# The token goes in over standard input: a command line is visible to everybody on the machine.
headers() {
	echo 'header = "Content-Type: application/json"'
	echo "header = \"Idempotency-Key: receipt-$order\""
	[ -z "${WARREN_API_TOKEN:-}" ] || echo "header = \"Authorization: Bearer $WARREN_API_TOKEN\""
}

# Without an answer, or with one of the server's own errors, the job may be published or not: the key
# makes another attempt safe. What is wrong with the job itself stays wrong.
attempt=1
while :; do
	status=$(headers | curl --config - --silent --connect-timeout 2 --max-time 15 --output "$answer" --write-out '%{http_code}' \
		--data "{\"kind\": \"receipt\", \"args\": {\"order\": $order}}" "$url/api/v1/jobs") || status=000
	case $status in
	201) cat "$answer"; exit 0 ;;
	429) ;;
	4*) echo "publish.sh: order $order has no receipt: $(cat "$answer")" >&2; exit 1 ;;
	esac
	[ "$attempt" -lt 6 ] || break
	sleep "$attempt"
	attempt=$((attempt + 1))
done
echo "publish.sh: order $order may have no receipt yet: status $status after $attempt attempts; run this again" >&2
exit 1

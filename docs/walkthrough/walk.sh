#!/usr/bin/env bash
# Walks the contract as a newcomer would, errors included, and prints what was typed and what was
# said, as Markdown. `make walkthrough` runs it on private servers and writes docs/walkthrough.md.
set -uo pipefail

export DATABASE_URL=${WARREN_TEST_DATABASE_URL:?run make walkthrough} AMQP_URL=${WARREN_TEST_AMQP_URL:?run make walkthrough}
export WARREN_SCHEMA=warren_walk WARREN_QUEUE_PREFIX=walk WARREN_LOG_LEVEL=error NO_COLOR=1 TZ=UTC
bin=$(cd bin && pwd)
export PATH="$bin:$PATH"
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1

# The program's version, as a pattern, and what is printed for it: a word of the same width, so that columns keep their places.
version=$(warren version | sed 's/^warren //; s/,.*//')
version_name=$(printf "%-${#version}s" VERSION)
version=$(printf '%s' "$version" | sed 's/[][\\.*^$#]/\\&/g')

# say is a line of text, t something that is typed: the command, what it says, its exit code if not 0.
say() { printf '\n%s\n\n' "$*"; }
t() {
	local out code
	out=$(eval "$1" 2>&1 </dev/null)
	code=$?
	printf '```console\n$ %s\n' "$1"
	[ -z "$out" ] || printf '%s\n' "$out" | sed "s#$work#.#g; s#127\.0\.0\.1:[0-9]*#127.0.0.1:PORT#g; s#$version#$version_name#g"
	[ $code -eq 0 ] || printf '(exit %d)\n' $code
	printf '```\n'
}
# until_state waits until job $1 is $2, for at most a minute.
until_state() {
	for _ in $(seq 300); do
		case $(warren jobs show "$1" -o jsonl 2>/dev/null) in *"\"state\":\"$2\""*) return 0 ;; esac
		sleep 0.2
	done
	echo "job $1 did not become $2" >&2
	exit 1
}

echo '# A walk through Warren'
say 'What a newcomer types, and what Warren says, errors included. Made by `make walkthrough` on private servers. PORT and VERSION stand for a port and the version of that run.'
echo '## Nothing is set up'
t 'env -u DATABASE_URL warren stats'
t 'DATABASE_URL=mysql://root:secret@127.0.0.1/app warren stats'
cat > warren.yaml <<'YAML'
prioritys: [10, 20, 30]
YAML
say 'A configuration with a mistake:'
t 'cat warren.yaml; warren config show'
cat > warren.yaml <<'YAML'
priorities: [10, 20, 30]
kinds:
  probe:  {probe: {}}
  quick:  {probe: {}, backoff: [300ms], max_attempts: 2}
  resize: {command: {run: ["/bin/cat"]}, queue: media, priority: 30}
YAML
t 'cat warren.yaml'
t 'warren config show --origin | head -12'

echo; echo '## The schema'
t 'warren migrate status | head -4'
t 'warren migrate up'
t 'warren migrate up'

echo; echo '## Publish'
t "producer publish probe --args '{\"sleep\":\"10ms\"}' --priority 20"
t 'producer publish probe --priority 7'
t "producer publish probe --args '{\"sleep\":'"
t 'producer publish'
t 'producer pubish probe'
t "producer publish quick --args '{\"outcome\":\"temporary\",\"message\":\"the bank is closed\"}' --identifier invoice-7"
t "producer publish resize --args '{\"file\":\"a.png\"}' --tag album"
t 'producer publish probe --delay 1h --serial-group album-7 --mode unique --identifier thumbs'
t 'producer publish probe --mode unique --identifier thumbs -o json | head -12'
t "printf '{\"kind\":\"probe\"}\\n{\"kind\":\"probe\",\"priority\":7}\\n' | producer import -"
t "printf '{\"kind\":\"probe\"}\\n{\"kind\":\"probe\"}\\n' > jobs.jsonl; producer import jobs.jsonl"
say 'From SQL, in any language:'
t "psql -At \"\$DATABASE_URL\" -c \"SELECT warren_walk.enqueue('probe', '{}', priority => 10)\""
t "psql -At \"\$DATABASE_URL\" -c \"SELECT warren_walk.enqueue('probe', '{}', priority => 7)\""

echo; echo '## Look'
t 'warren jobs list'
t 'warren stats'
t 'warren why 1'
t 'warren why 4'
t 'warren jobs show 99'
t 'warren jobs show one'
t 'warren jobs list --state BUSY'

echo; echo '## Run'
t 'consumer run -p 10abc'
t 'consumer run -p 7'
t 'consumer run -p 20 --once'
t 'warren jobs show 1'
say 'A consumer of everything, in the background:'
consumer run & consumer=$!
until_state 2 PERMANENTLY_FAILED
until_state 3 FINISHED
t 'warren consumers list | cut -c1-60'
t 'warren jobs show 2 | grep -v memory'
t 'warren jobs show 3 -o jsonl | grep -o "\"output\":.*"'
t 'warren jobs list --state FINISHED,PERMANENTLY_FAILED'

echo; echo '## Operate'
t 'warren jobs retry 2 --dry-run'
t 'warren jobs retry 2'
until_state 2 PERMANENTLY_FAILED
t 'warren jobs cancel 4'
t 'warren jobs cancel 4'
t 'warren jobs delete 99'
t 'warren queues pause media'
t "producer publish resize --args '{}'"
t 'warren queues list'
t 'warren queues resume media'
say 'What people with psql may do, and what not:'
t "psql -At \"\$DATABASE_URL\" -c \"UPDATE warren_walk.jobs SET state = 'BACK_TO_BROKER' WHERE id = 1\""
t "psql -At \"\$DATABASE_URL\" -c \"UPDATE warren_walk.jobs SET state = 'PROCESSING' WHERE id = 1\""
until_state 1 FINISHED
t 'warren check --max-backlog 1000 --max-age 5m'
t 'warren reload-consumers default 7'
t 'warren reload-consumers default 1'
wait $consumer
t 'warren doctor | cut -c1-110'
t 'warren clear-finished'
t 'warren clear-finished --yes'
t 'warren stats'

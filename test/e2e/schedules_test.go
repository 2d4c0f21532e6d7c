package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/warrenq/warren/internal/testenv"
)

// Three consumers declare a schedule for every second, and whoever leads the sweep is killed again and
// again: every second has its job, and none has two.
func TestScheduleWhoseLeaderIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	ledger := filepath.Join(w.dir, "ledger")
	config := kinds + fmt.Sprintf("schedules:\n  second: {every: 1s, kind: probe, catch_up: 1000, args: {append: %q}}\n", ledger)
	if err := os.WriteFile(filepath.Join(w.dir, "warren.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	w.must(t, "warren", "migrate", "up")
	nodes := map[string]*daemon{}
	start := func() {
		d := w.start(t)
		nodes[strconv.Itoa(d.pid())] = d
	}
	for range 3 {
		start()
	}
	const ticks = "'schedule:second' = ANY (tags)"
	finished := func() int { return atoi(t, w.count(t, "state = 'FINISHED' AND "+ticks)) }
	for round := range 2 {
		before := finished()
		await(t, "ticks to run", func() bool { return finished() >= before+3 })
		var leader string
		await(t, "a leader", func() bool {
			leader = w.sql(t, "SELECT split_part(holder, ':', 2) FROM warren.leaders WHERE name = 'sweep' AND holder IS NOT NULL")
			return nodes[leader] != nil
		})
		nodes[leader].signal(t, syscall.SIGKILL)
		delete(nodes, leader)
		t.Logf("round %d: killed the leader, pid %s, after %d runs", round+1, leader, finished())
		start()
	}
	before := finished()
	await(t, "ticks to run after the last kill", func() bool { return finished() >= before+3 })

	// The row that waits is the only one that has not been let go.
	w.must(t, "warren", "schedules", "pause", "second")
	await(t, "all jobs to end", func() bool { return w.count(t, "state NOT IN ('FINISHED', 'CANCELLED')") == "0" })
	const tick = "(metadata->'schedule'->>'tick')::timestamptz"
	runs, distinct := w.count(t, "state = 'FINISHED' AND "+ticks), w.sql(t, "SELECT count(DISTINCT "+tick+") FROM warren.jobs WHERE state = 'FINISHED' AND "+ticks)
	seconds := w.sql(t, "SELECT extract(epoch FROM max("+tick+") - min("+tick+"))::bigint + 1 FROM warren.jobs WHERE state = 'FINISHED' AND "+ticks)
	t.Logf("%s runs for %s ticks in %s seconds", runs, distinct, seconds)
	if runs != distinct || runs != seconds {
		t.Errorf("%s runs for %s ticks in %s seconds; want one for each", runs, distinct, seconds)
	}
	if n := atoi(t, w.count(t, "state = 'CANCELLED'")); n > 1 { // none, when it was due at that moment
		t.Errorf("%d rows were withdrawn, want the one that waited when the schedule was paused", n)
	}
	if n := w.count(t, "crashes = 0 AND attempts <> 1 AND state = 'FINISHED'"); n != "0" {
		t.Errorf("%s jobs ran more than once", n)
	}
	starts := strings.Count(readFile(t, ledger), " start ")
	crashes := atoi(t, w.sql(t, "SELECT coalesce(sum(crashes), 0) FROM warren.jobs"))
	if done := atoi(t, runs); starts < done || starts > done+crashes {
		t.Errorf("handlers began %d times for %d runs and %d crashes", starts, done, crashes)
	}
}

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

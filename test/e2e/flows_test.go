package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/testenv"
	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/jobstore/postgres"
)

// probeArgs is a job of the shipped consumer.
type probeArgs struct {
	Outcome string `json:"outcome,omitempty"`
	Sleep   string `json:"sleep,omitempty"`
	Message string `json:"message,omitempty"`
}

func (probeArgs) Kind() string { return "probe" }

// publishFlow migrates the database and publishes a flow into it.
func (w *world) publishFlow(t *testing.T, f warren.Flow) jobstore.StepID {
	t.Helper()
	w.must(t, "warren", "migrate", "up")
	store, err := postgres.Open(t.Context(), w.dsn, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	client, err := warren.NewClient(warren.ClientConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	id, err := client.PublishFlow(ctx, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("published in %s", time.Since(began).Round(time.Millisecond))
	return id
}

// killing keeps three consumers until the flow has ended, and meanwhile kills and replaces one of them so
// many times, evenly over the jobs of the flow.
func (w *world) killing(t *testing.T, id jobstore.StepID, total, kills int) {
	t.Helper()
	crew := []*daemon{w.start(t, "-c", "10"), w.start(t, "-c", "10"), w.start(t, "-c", "10")}
	began := time.Now()
	killed := 0
	deadline := time.Now().Add(patience)
	if longRun() {
		deadline = deadline.Add(20 * time.Minute)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for w.sql(t, "SELECT state FROM warren.job_flows WHERE id = $1", int64(id)) == "running" {
		if time.Now().After(deadline) {
			t.Fatalf("the flow has not ended: %s", w.sql(t, "SELECT json_agg(s)::text FROM warren.job_steps s WHERE state = 'running'"))
		}
		if killed < kills {
			ended, err := strconv.Atoi(w.sql(t, "SELECT count(*) FROM warren.jobs_history WHERE step IS NOT NULL"))
			if err == nil && ended > (killed+1)*total/(kills+1) {
				i := rand.IntN(len(crew))
				crew[i].signal(t, syscall.SIGKILL)
				crew[i] = w.start(t, "-c", "10")
				killed++
			}
		}
		<-tick.C
	}
	t.Logf("%d jobs, %d consumers killed, %s", total, killed, time.Since(began).Round(time.Second))
	if killed < kills {
		t.Errorf("only %d of %d consumers were killed", killed, kills)
	}
}

// checkCounters compares the counters of every step with the rows.
func (w *world) checkCounters(t *testing.T) {
	t.Helper()
	wrong := w.sql(t, `SELECT json_agg(x)::text FROM (
  SELECT s.id, s.role, s.total, s.open, s.done, s.failed, s.cancelled, r.* FROM warren.job_steps s CROSS JOIN LATERAL (
    SELECT (SELECT count(*) FROM warren.jobs j WHERE j.step = s.id)
        + (SELECT count(*) FROM warren.job_steps c WHERE c.parent = s.id AND c.role <> 'callback') AS members,
      (SELECT count(*) FROM warren.jobs j WHERE j.step = s.id AND j.state IN ('PERMANENTLY_FAILED', 'QUARANTINED'))
        + (SELECT count(*) FROM warren.job_steps c WHERE c.parent = s.id AND c.role <> 'callback' AND c.state = 'failed') AS bad,
      (SELECT count(*) FROM warren.jobs_live j WHERE j.step = s.id)
        + (SELECT count(*) FROM warren.job_steps c WHERE c.parent = s.id AND c.role <> 'callback' AND c.state = 'running') AS live) r
  WHERE s.total <> r.members OR s.failed <> r.bad OR s.open <> r.live OR s.total <> s.open + s.done + s.failed + s.cancelled) x`)
	if wrong != "" {
		t.Errorf("counters differ from the rows: %s", wrong)
	}
	if n := w.sql(t, "SELECT count(*) FROM warren.job_step_ends"); n != "0" {
		t.Errorf("%s ends were not counted", n)
	}
}

// A large batch, some of whose members fail, completes while consumers are killed. Each callback is
// there exactly as often as it was asked for.
func TestBatchCompletesWhileConsumersAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	members, kills, sleep := 2_000, 1, "50ms" // so that the batch lasts for longer than looking at it takes
	if longRun() {
		members, kills, sleep = 100_000, 12, ""
	}
	b := warren.Batch("large").AllowFailures().OnStart(probeArgs{Message: "start"}).OnProgress(probeArgs{Message: "progress"}).
		OnSuccess(probeArgs{Message: "success"}).OnFirstFailure(probeArgs{Message: "failure"}).OnEachFailure(probeArgs{Message: "each"}).
		OnFinish(probeArgs{Message: "end"})
	failing := 0
	for i := range members {
		if i%100 == 7 {
			b.Add(probeArgs{Outcome: "permanent"})
			failing++
		} else {
			b.Add(probeArgs{Sleep: sleep})
		}
	}
	id := w.publishFlow(t, b)
	w.killing(t, id, members, kills)
	if got := w.sql(t, "SELECT format('%s %s %s %s', state, total, failed + done, open) FROM warren.job_steps WHERE id = $1", int64(id)); got !=
		fmt.Sprintf("finished %d %d 0", members, members) {
		t.Errorf("the batch is %s", got)
	}
	failed, err := strconv.Atoi(w.sql(t, "SELECT failed FROM warren.job_steps WHERE id = $1", int64(id)))
	if err != nil || failed < failing {
		t.Errorf("%d members failed, want %d and those that were quarantined (%v)", failed, failing, err)
	}
	for name, want := range map[string]int{"start": 1, "success": 1, "failure": 1, "each": failed, "end": 1} {
		if got := w.count(t, fmt.Sprintf("args ->> 'message' = '%s'", name)); got != strconv.Itoa(want) {
			t.Errorf("%s callbacks for %s, want %d", got, name, want)
		}
	}
	if got := w.sql(t, "SELECT count(DISTINCT metadata ->> 'warren.failed_job') FROM warren.jobs WHERE args ->> 'message' = 'each'"); got != strconv.Itoa(failed) {
		t.Errorf("%s failures were told, want %d", got, failed)
	}
	if got := w.sql(t, `SELECT count(*) = count(DISTINCT metadata ->> 'warren.percent') AND max((metadata ->> 'warren.percent')::int) = 100
FROM warren.jobs WHERE args ->> 'message' = 'progress'`); got != "true" {
		t.Error("progress was told twice, or not to its end")
	}
	await(t, "the callbacks to end", func() bool { return w.count(t, "finished_at IS NULL") == "0" })
	w.checkCounters(t)
}

// Steps fan out and come together again, layer after layer, while consumers are killed: each runs when
// all of the layer before have ended, and has one job.
func TestFanOutAndInWhileConsumersAreKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testenv.Postgres(t), testenv.RabbitMQ(t))
	layers, wide, long, kills := 3, 4, 4, 1
	if longRun() {
		layers, wide, long, kills = 10, 10, 10, 10
	}
	var outer []any
	for l := range layers {
		layer := warren.Batch(fmt.Sprint("layer ", l))
		for range wide {
			var chain []any
			for range long {
				chain = append(chain, warren.Item{Args: probeArgs{Sleep: "5ms"}, Opts: warren.PublishOpts{Tags: []string{fmt.Sprint("layer", l)}}})
			}
			layer.AddChain(chain...)
		}
		outer = append(outer, layer)
	}
	id := w.publishFlow(t, warren.Chain(outer...))
	steps := layers * wide * long
	w.killing(t, id, steps, kills)
	if got := w.count(t, "state = 'FINISHED'"); got != strconv.Itoa(steps) || w.count(t, "true") != got {
		t.Errorf("%s jobs have finished, want %d", got, steps)
	}
	if got := w.sql(t, "SELECT state FROM warren.job_flows WHERE id = $1", int64(id)); got != "finished" {
		t.Errorf("the flow is %s", got)
	}
	if got := w.sql(t, `SELECT json_agg(x)::text FROM (
  SELECT tags[1] AS layer, min(attempted_at) AS began, max(finished_at) AS ended,
    lag(max(finished_at)) OVER (ORDER BY min(attempted_at)) AS before FROM warren.jobs GROUP BY 1) x WHERE began < before`); got != "" {
		t.Errorf("layers overlap: %s", got)
	}
	w.checkCounters(t)
}

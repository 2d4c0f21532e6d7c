package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/broker"
	"github.com/warrenq/warren/internal/metrics"
	"github.com/warrenq/warren/jobstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape returns the samples of our own metrics by name and labels.
func scrape(t *testing.T, m *metrics.Metrics) map[string]string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	samples := map[string]string{}
	for line := range strings.Lines(w.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(name, "warren_") {
			if end := strings.LastIndex(line, "} "); end > 0 { // labels may hold spaces
				name, value = line[:end+1], strings.TrimSpace(line[end+2:])
			}
			samples[name] = value
		}
	}
	return samples
}

func want(t *testing.T, samples, expected map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(expected)) {
		if got, ok := samples[name]; !ok || got != expected[name] {
			t.Errorf("%s is %q, want %q", name, got, expected[name])
		}
	}
}

func job(queue, kind string) *jobstore.Job {
	due := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	started := due.Add(3 * time.Second)
	return &jobstore.Job{ID: 1, Queue: queue, Kind: kind, AvailableAt: due, AttemptedAt: &started}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	m := metrics.New(metrics.Config{Version: "v1", Slots: 4})
	see := func(e warren.Event) { m.Observe(t.Context(), e) }
	mail := job("default", "mail")
	for _, state := range jobstore.States() {
		see(warren.Event{Kind: warren.JobStarted, Job: mail})
		see(warren.Event{Kind: warren.JobEnded, Job: mail, Outcome: jobstore.Outcome{State: state, Duration: 2 * time.Second}})
	}
	for range 3 {
		see(warren.Event{Kind: warren.JobStarted, Job: mail})
	}
	see(warren.Event{Kind: warren.LeaseLost, Job: mail})
	see(warren.Event{Kind: warren.JobPublished, Job: mail})
	see(warren.Event{Kind: warren.JobStuck, Job: mail})
	see(warren.Event{Kind: warren.JobQuarantined, Job: &jobstore.Job{ID: 7}})
	for i, kind := range []warren.EventKind{
		warren.OutcomeFenced, warren.KindUnknown, warren.HintsRefused, warren.ConsumersExpired, warren.JobsCrashed,
	} {
		see(warren.Event{Kind: kind, Count: i + 2})
	}
	see(warren.Event{Kind: warren.ScheduleMissed, Schedule: "nightly"})
	see(warren.Event{Kind: warren.SweepEnded, Part: "due and outbox", Took: 2 * time.Second})
	pair := `{kind="mail",queue="default"}`
	with := func(outcome string) string {
		return `warren_finished_total{kind="mail",outcome="` + outcome + `",queue="default"}`
	}
	want(t, scrape(t, m), map[string]string{
		"warren_enqueued_total" + pair: "1", "warren_run_seconds_count" + pair: "12", "warren_run_seconds_sum" + pair: "24",
		"warren_wait_seconds_count" + pair: "15", "warren_wait_seconds_sum" + pair: "45",
		with("done"): "1", with("failed"): "1", with("retrying"): "1", with("waiting"): "1", with("cancelled"): "1",
		with("redundant"): "1", with("quarantined"): "1", with("returned"): "1",
		`warren_finished_total{kind="(other)",outcome="quarantined",queue="(other)"}`: "1",
		`warren_worker_slots{state="busy"}`:                                           "2", `warren_worker_slots{state="idle"}`: "2",
		"warren_lease_lost_total": "1", "warren_outcome_fenced_total": "2", "warren_unknown_kind_total": "3",
		"warren_stale_hints_total": "4", "warren_lease_expired_total": "5", "warren_crash_total": "6",
		"warren_schedule_missed_total": "1", "warren_stuck_handlers_total": "1",
		`warren_sweep_seconds_sum{part="due and outbox"}`: "2",
	})
}

// However many queues and kinds there are, the series are bounded.
func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	m := metrics.New(metrics.Config{})
	for i := range metrics.MaxSeries + 50 {
		m.Observe(t.Context(), warren.Event{Kind: warren.JobPublished, Job: job("default", fmt.Sprintf("k%d", i))})
	}
	samples := scrape(t, m)
	want(t, samples, map[string]string{`warren_enqueued_total{kind="(other)",queue="(other)"}`: "50"})
	n := 0
	for name := range samples {
		if strings.HasPrefix(name, "warren_enqueued_total") {
			n++
		}
	}
	if n != metrics.MaxSeries+1 {
		t.Errorf("%d series, want %d", n, metrics.MaxSeries+1)
	}
}

// gauger answers with a backlog, or an error.
type gauger struct {
	looks atomic.Int64
	err   error
}

func (g *gauger) Gauges(context.Context, int) (jobstore.Gauges, error) {
	g.looks.Add(1)
	return jobstore.Gauges{
		Bands: []jobstore.BandCount{
			{Band: jobstore.Band{Queue: "default", Priority: 10}, State: jobstore.Ready, Jobs: 7, Age: 3 * time.Second},
			{Band: jobstore.Band{Queue: "default", Priority: 10}, State: jobstore.Processing, Jobs: 2},
		},
		Outbox: 5, OutboxAge: time.Minute,
	}, g.err
}

// The database is asked at most every five seconds, and empty bands of the consumer are there.
func TestBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gauger{}
		m := metrics.New(metrics.Config{})
		m.Backlog(g, []string{"default"}, []int{10, 20})
		for range 3 {
			want(t, scrape(t, m), map[string]string{
				`warren_backlog{band="10",queue="default",state="READY"}`:      "7",
				`warren_backlog{band="10",queue="default",state="PROCESSING"}`: "2",
				`warren_backlog{band="20",queue="default",state="READY"}`:      "0",
				`warren_oldest_ready_age_seconds{band="10",queue="default"}`:   "3",
				`warren_oldest_ready_age_seconds{band="20",queue="default"}`:   "0",
				"warren_outbox_pending": "5", "warren_outbox_oldest_seconds": "60", "warren_database_up": "1",
			})
		}
		if n := g.looks.Load(); n != 1 {
			t.Errorf("%d looks at the database for three scrapes at once", n)
		}
		<-time.After(5 * time.Second)
		g.err = errors.New("away")
		samples := scrape(t, m)
		want(t, samples, map[string]string{"warren_database_up": "0"})
		if _, ok := samples["warren_outbox_pending"]; ok {
			t.Error("figures about a database that does not answer")
		}
		if n := g.looks.Load(); n != 2 {
			t.Errorf("%d looks at the database, want another after five seconds", n)
		}
	})
}

type publisher struct {
	broker.Broker
	errs []error
}

func (p publisher) Publish(context.Context, []broker.Hint) []error { return p.errs }
func (p publisher) Up() bool                                       { return true }

func TestBrokerIsTimed(t *testing.T) {
	t.Parallel()
	m := metrics.New(metrics.Config{BrokerUp: func() bool { return true }})
	for _, errs := range [][]error{nil, {errors.New("late")}} {
		m.Broker(publisher{errs: errs}).Publish(t.Context(), nil)
	}
	want(t, scrape(t, m), map[string]string{"warren_publish_confirm_seconds_count": "1", "warren_broker_up": "1"})
}

// docs/metrics.md and the metrics are the same list.
func TestDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, found := range regexp.MustCompile("(?m)^\\| `(warren_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented[found[1]] = true
	}
	m := metrics.New(metrics.Config{BrokerUp: func() bool { return true }})
	m.Backlog(&gauger{}, nil, nil)
	m.Dropped(1)
	m.Observe(t.Context(), warren.Event{Kind: warren.JobStarted, Job: job("q", "k")})
	m.Observe(t.Context(), warren.Event{Kind: warren.SweepEnded, Part: "rescue"})
	m.Observe(t.Context(), warren.Event{Kind: warren.ConsumerStopping, Reason: warren.StopAsked})
	exported := map[string]bool{}
	for name := range scrape(t, m) {
		name, _, _ = strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base, ok := strings.CutSuffix(name, suffix); ok && strings.HasSuffix(base, "_seconds") {
				name = base
			}
		}
		exported[name] = true
	}
	if got, all := slices.Sorted(maps.Keys(exported)), slices.Sorted(maps.Keys(documented)); !slices.Equal(got, all) {
		t.Errorf("exported:\n%v\ndocumented:\n%v", got, all)
	}
}

// What a job pays for being counted: two events.
func BenchmarkObserve(b *testing.B) {
	for name, observer := range map[string]warren.Observer{"nobody": nobody{}, "metrics": metrics.New(metrics.Config{})} {
		b.Run(name, func(b *testing.B) {
			started := warren.Event{Kind: warren.JobStarted, Job: job("default", "mail")}
			ended := warren.Event{Kind: warren.JobEnded, Job: started.Job, Outcome: jobstore.Outcome{State: jobstore.Finished, Duration: time.Millisecond}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					observer.Observe(b.Context(), started)
					observer.Observe(b.Context(), ended)
				}
			})
		})
	}
}

type nobody struct{}

func (nobody) Observe(context.Context, warren.Event) {}

// Package metrics turns what happens in a consumer into Prometheus metrics. It is the only package
// that knows Prometheus: the engine knows warren.Observer.
//
// docs/metrics.md lists every name. Values of labels are bounded: kinds and queues beyond MaxSeries
// pairs are counted under "(other)", bands beyond jobstore.MaxBands not at all.
package metrics

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// MaxSeries is how many pairs of queue and kind have series of their own.
const MaxSeries = 500

// other is the queue and the kind of pairs beyond MaxSeries.
const other = "(other)"

// Config is what a Metrics needs.
type Config struct {
	Version string
	// Slots is how many handlers run at a time.
	Slots int
	// BrokerUp, if set, says whether the broker is connected.
	BrokerUp func() bool
}

// Metrics is a warren.Observer that counts.
type Metrics struct {
	registry *prometheus.Registry

	enqueued, finished *prometheus.CounterVec
	run, wait          *prometheus.HistogramVec
	sweep              *prometheus.HistogramVec
	confirm            prometheus.Histogram
	busy               atomic.Int64
	expired, crashes   prometheus.Counter
	stale, fenced      prometheus.Counter
	unknown, lost      prometheus.Counter
	stuck              prometheus.Counter
	missed             prometheus.Counter
	dropped            prometheus.Counter
	stops              *prometheus.CounterVec

	mu     sync.RWMutex
	series map[pair]*series
}

var _ warren.Observer = (*Metrics)(nil)

// pair is what the series of jobs go by.
type pair struct{ queue, kind string }

// series are a pair's metrics, looked up once.
type series struct {
	enqueued  prometheus.Counter
	outcomes  map[jobstore.State]prometheus.Counter
	run, wait prometheus.Observer
}

// New makes metrics in a registry of their own.
func New(cfg Config) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), series: map[pair]*series{}}
	m.jobs()
	m.loops()
	m.slots(cfg.Slots)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "warren_build_info", Help: "Always 1; the labels say what runs.",
	}, []string{"version", "goversion"})
	build.WithLabelValues(cfg.Version, runtime.Version()).Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if cfg.BrokerUp != nil {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "warren_broker_up", Help: "1 while this process is connected to the broker, else 0.",
		}, func() float64 {
			if cfg.BrokerUp() {
				return 1
			}
			return 0
		}))
	}
	return m
}

func (m *Metrics) jobs() {
	job := []string{"queue", "kind"}
	m.enqueued = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warren_enqueued_total", Help: "Jobs published by this process, in transactions that did not commit too.",
	}, job)
	m.finished = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warren_finished_total", Help: "Attempts that ended in this process, by what came of them.",
	}, append(job, "outcome"))
	m.run = prometheus.NewHistogramVec(durations("warren_run_seconds", "How long attempts ran."), job)
	m.wait = prometheus.NewHistogramVec(durations("warren_wait_seconds", "How long jobs waited from when they were due to their start."), job)
	m.registry.MustRegister(m.enqueued, m.finished, m.run, m.wait)
}

func (m *Metrics) loops() {
	m.sweep = prometheus.NewHistogramVec(durations("warren_sweep_seconds", "How long each part of the sweep took, in the process that leads."), []string{"part"})
	m.confirm = prometheus.NewHistogram(durations("warren_publish_confirm_seconds", "From sending a batch of hints to the broker's last confirm."))
	m.stops = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "warren_consumer_stopping_total", Help: "Drains of this process, by why it stops.",
	}, []string{"reason"})
	m.registry.MustRegister(m.sweep, m.confirm, m.stops)
	for _, c := range []struct {
		to         *prometheus.Counter
		name, help string
	}{
		{&m.expired, "warren_lease_expired_total", "Consumers removed because they stopped renewing their lease, seen by the process that leads the sweep."},
		{&m.crashes, "warren_crash_total", "Jobs that such consumers were running."},
		{&m.lost, "warren_lease_lost_total", "Attempts of this process that came to nothing because its own lease was lost."},
		{&m.fenced, "warren_outcome_fenced_total", "Outcomes that changed nothing because the lease was no longer theirs."},
		{&m.stale, "warren_stale_hints_total", "Numbers from the broker that there was nothing to do about: duplicates, jobs ended or held."},
		{&m.dropped, "warren_notices_dropped_total", "Notices about failures that found no room or no listener."},
		{&m.stuck, "warren_stuck_handlers_total", "Handlers that did not return after their context had ended, and were left behind."},
		{&m.unknown, "warren_unknown_kind_total", "Jobs offered to this consumer that it has no handler for."},
		{&m.missed, "warren_schedule_missed_total", "Times that runs of a schedule were found not to have happened in time, by the process that leads the sweep."},
	} {
		*c.to = prometheus.NewCounter(prometheus.CounterOpts{Name: c.name, Help: c.help})
		m.registry.MustRegister(*c.to)
	}
}

func (m *Metrics) slots(slots int) {
	for state, count := range map[string]func() int64{
		"busy": m.busy.Load,
		"idle": func() int64 { return max(int64(slots)-m.busy.Load(), 0) },
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "warren_worker_slots", Help: "Slots of this process, by whether a handler runs in them.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(count()) }))
	}
}

// durations are the buckets of everything that takes time: a classic histogram for every server,
// and a native one for those that ask for it.
func durations(name, help string) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help,
		Buckets:                        []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 60, 300, 1800, 7200},
		NativeHistogramBucketFactor:    1.2,
		NativeHistogramMaxBucketNumber: 100,
	}
}

// Observe implements warren.Observer.
func (m *Metrics) Observe(_ context.Context, e warren.Event) {
	switch e.Kind {
	case warren.JobStarted:
		m.busy.Add(1)
		if at := e.Job.AttemptedAt; at != nil {
			m.of(e.Job).wait.Observe(max(at.Sub(e.Job.AvailableAt), 0).Seconds())
		}
	case warren.JobEnded:
		m.busy.Add(-1)
		s := m.of(e.Job)
		s.run.Observe(e.Outcome.Duration.Seconds())
		if c := s.outcomes[e.Outcome.State]; c != nil {
			c.Inc()
		}
	case warren.LeaseLost:
		m.busy.Add(-1)
		m.lost.Inc()
	case warren.JobPublished:
		m.of(e.Job).enqueued.Inc()
	case warren.OutcomeFenced:
		m.fenced.Add(float64(e.Count))
	case warren.JobStuck:
		m.stuck.Inc()
	case warren.KindUnknown:
		m.unknown.Add(float64(e.Count))
	case warren.HintsRefused:
		m.stale.Add(float64(e.Count))
	case warren.ConsumersExpired:
		m.expired.Add(float64(e.Count))
	case warren.JobsCrashed:
		m.crashes.Add(float64(e.Count))
	case warren.ScheduleMissed:
		m.missed.Inc() // the log and 'warren schedules list' say which
	case warren.JobQuarantined:
		m.finished.WithLabelValues(other, other, "quarantined").Inc() // only its number is known here
	case warren.ConsumerStopping:
		m.stops.WithLabelValues(string(e.Reason)).Inc()
	case warren.JobsClaimed, warren.JobDuplicate, warren.ConsumerStarted, warren.ConsumerIdle, warren.ConsumerScaled, warren.ConsumerStopped:
		// What jobs come to tells more.
	case warren.SweepEnded:
		m.sweep.WithLabelValues(e.Part).Observe(e.Took.Seconds())
	}
}

// outcomes names what became of an attempt.
func outcomes() map[jobstore.State]string {
	return map[jobstore.State]string{
		jobstore.Finished: "done", jobstore.PermanentlyFailed: "failed", jobstore.TemporarilyFailed: "retrying",
		jobstore.Waiting: "waiting", jobstore.Cancelled: "cancelled", jobstore.Redundant: "redundant",
		jobstore.Quarantined: "quarantined", jobstore.Ready: "returned",
	}
}

func (m *Metrics) of(job *jobstore.Job) *series {
	p := pair{job.Queue, job.Kind}
	m.mu.RLock()
	s := m.series[p]
	m.mu.RUnlock()
	if s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.series[p]; s != nil {
		return s
	}
	if len(m.series) >= MaxSeries {
		p = pair{other, other}
		if s := m.series[p]; s != nil {
			return s
		}
	}
	s = &series{
		enqueued: m.enqueued.WithLabelValues(p.queue, p.kind), outcomes: map[jobstore.State]prometheus.Counter{},
		run: m.run.WithLabelValues(p.queue, p.kind), wait: m.wait.WithLabelValues(p.queue, p.kind),
	}
	for state, name := range outcomes() {
		s.outcomes[state] = m.finished.WithLabelValues(p.queue, p.kind, name)
	}
	m.series[p] = s
	return s
}

// Backlog adds what store has when somebody scrapes. The bands of these queues and priorities, which
// the consumer takes, are listed when they are empty too.
func (m *Metrics) Backlog(store jobstore.Gauger, queues []string, priorities []int) {
	m.registry.MustRegister(newBacklog(store, queues, priorities))
}

// Dropped counts notices about failures that reached nobody.
func (m *Metrics) Dropped(n int) { m.dropped.Add(float64(n)) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

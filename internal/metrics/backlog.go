package metrics

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/warrenq/warren/jobstore"
)

const (
	// fresh is for how long a look at the database is good: several scrapers cost what one does.
	fresh = 5 * time.Second
	// patience is how long a scrape waits for the database: a scraper gives up after ten seconds.
	patience = 4 * time.Second
	// limit is how many jobs of a band are counted; more are "at least that many".
	limit = 10_000
)

// backlog collects gauges from the database when somebody scrapes.
type backlog struct {
	store jobstore.Gauger
	own   []jobstore.Band

	jobs, oldest, outbox, outboxAge, up *prometheus.Desc

	mu    sync.Mutex // held during a look, so that there is one at a time
	at    time.Time
	known jobstore.Gauges
	err   error
}

func newBacklog(store jobstore.Gauger, queues []string, priorities []int) *backlog {
	b := &backlog{
		store: store,
		jobs: prometheus.NewDesc("warren_backlog",
			"Jobs in the database that have not ended, of all consumers: take max, not sum, over instances. Counting stops at 10000 a band.",
			[]string{"queue", "band", "state"}, nil),
		oldest: prometheus.NewDesc("warren_oldest_ready_age_seconds",
			"For how long the oldest READY job outside of serial groups has been due.", []string{"queue", "band"}, nil),
		outbox:    prometheus.NewDesc("warren_outbox_pending", "READY jobs that wait to be announced.", nil, nil),
		outboxAge: prometheus.NewDesc("warren_outbox_oldest_seconds", "For how long the first of them has waited.", nil, nil),
		up:        prometheus.NewDesc("warren_database_up", "1 when the database answered the latest look at the backlog, else 0.", nil, nil),
	}
	for _, q := range queues {
		for _, p := range priorities {
			b.own = append(b.own, jobstore.Band{Queue: q, Priority: p})
		}
	}
	return b
}

// Describe implements prometheus.Collector.
func (b *backlog) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{b.jobs, b.oldest, b.outbox, b.outboxAge, b.up} {
		to <- d
	}
}

// Collect implements prometheus.Collector. When the database does not answer there are no figures
// about it: old ones would look like good ones.
func (b *backlog) Collect(to chan<- prometheus.Metric) {
	known, err := b.look()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if err != nil {
		gauge(b.up, 0)
		return
	}
	gauge(b.up, 1)
	gauge(b.outbox, float64(known.Outbox))
	gauge(b.outboxAge, known.OutboxAge.Seconds())
	missing := slices.Clone(b.own)
	for _, c := range known.Bands {
		if c.State == jobstore.Ready {
			gauge(b.oldest, c.Age.Seconds(), c.Queue, strconv.Itoa(c.Priority))
			missing = slices.DeleteFunc(missing, func(band jobstore.Band) bool { return band == c.Band })
		}
		gauge(b.jobs, float64(c.Jobs), c.Queue, strconv.Itoa(c.Priority), string(c.State))
	}
	for _, band := range missing { // an alert cannot compare with what is not there
		gauge(b.jobs, 0, band.Queue, strconv.Itoa(band.Priority), string(jobstore.Ready))
		gauge(b.oldest, 0, band.Queue, strconv.Itoa(band.Priority))
	}
}

func (b *backlog) look() (jobstore.Gauges, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.at.IsZero() && time.Since(b.at) < fresh {
		return b.known, b.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.known, b.err = b.store.Gauges(ctx, limit)
	b.at = time.Now()
	return b.known, b.err
}

package notice_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/internal/notice"
	"github.com/warrenq/warren/jobstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rows is a database with one job.
type rows struct{ job jobstore.Job }

func (r rows) Get(_ context.Context, id jobstore.ID) (jobstore.Job, error) {
	if id != r.job.ID {
		return jobstore.Job{}, jobstore.ErrNotFound
	}
	return r.job, nil
}

// rig is a webhook and the notices that are sent to it.
type rig struct {
	*notice.Notices
	got     chan notice.Notice
	dropped atomic.Int64
	logs    *observer.ObservedLogs
	stop    context.CancelFunc
	done    chan error
	url     string
}

// newRig has the webhook answer with what answer returns for each request.
func newRig(t *testing.T, answer func(r *http.Request) int) *rig {
	t.Helper()
	r := &rig{got: make(chan notice.Notice, 1000), done: make(chan error, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		code := answer(req)
		var n notice.Notice
		if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		if code == 200 {
			r.got <- n
		}
		if code == http.StatusFound {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/T0/S3CR3T"
	core, logs := observer.New(zap.DebugLevel)
	r.logs = logs
	r.Notices = notice.New(notice.Config{
		Attempts: 3, Webhook: r.url, Pause: time.Millisecond, Version: "v1", Log: zap.New(core),
		Jobs:    rows{jobstore.Job{ID: 9, Kind: "mail", Queue: "media", Attempts: 4, Error: "processes died"}},
		Dropped: func(n int) { r.dropped.Add(int64(n)) },
	})
	return r
}

func (r *rig) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() { r.done <- r.Run(ctx) }()
	t.Cleanup(cancel)
}

// end stops the notices, which tell what waits first.
func (r *rig) end(t *testing.T) []notice.Notice {
	t.Helper()
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	var all []notice.Notice
	for len(r.got) > 0 {
		all = append(all, <-r.got)
	}
	for _, entry := range r.logs.All() {
		if text, err := json.Marshal(entry.ContextMap()); err != nil || strings.Contains(string(text), "S3CR3T") {
			t.Errorf("the webhook's secret is in the log: %s %s (%v)", entry.Message, text, err)
		}
	}
	return all
}

func ended(id jobstore.ID, attempts, crashes int, state jobstore.State) warren.Event {
	return warren.Event{
		Kind: warren.JobEnded, Job: &jobstore.Job{ID: id, Kind: "mail", Queue: "default", Attempts: attempts, Crashes: crashes},
		Outcome: jobstore.Outcome{State: state, Error: "no such address"}, Err: errors.New("no such address"),
	}
}

// Of everything that happens, three things are told.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(req *http.Request) int {
		if req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" || req.Header.Get("User-Agent") != "warren/v1" {
			t.Errorf("%s with %v", req.Method, req.Header)
		}
		return 200
	})
	r.start(t)
	for _, e := range []warren.Event{
		{Kind: warren.JobStarted, Job: &jobstore.Job{ID: 1}},
		ended(1, 1, 0, jobstore.Finished),
		ended(1, 3, 0, jobstore.Waiting),
		ended(1, 2, 0, jobstore.TemporarilyFailed),
		ended(1, 3, 1, jobstore.TemporarilyFailed), // the second failure
		ended(2, 3, 0, jobstore.TemporarilyFailed),
		ended(2, 4, 0, jobstore.TemporarilyFailed),
		ended(3, 5, 2, jobstore.TemporarilyFailed),
		ended(4, 1, 0, jobstore.PermanentlyFailed),
		{Kind: warren.LeaseLost, Job: &jobstore.Job{ID: 5}},
		{Kind: warren.JobQuarantined, Job: &jobstore.Job{ID: 9}},
		{Kind: warren.JobQuarantined, Job: &jobstore.Job{ID: 10}}, // its row is gone
	} {
		r.Observe(t.Context(), e)
	}
	const text = "no such address"
	want := []notice.Notice{
		{Type: "job.failing", ID: 2, Kind: "mail", Queue: "default", State: jobstore.TemporarilyFailed, Attempts: 3, Error: text},
		{Type: "job.failing", ID: 3, Kind: "mail", Queue: "default", State: jobstore.TemporarilyFailed, Attempts: 5, Error: text},
		{Type: "job.failed", ID: 4, Kind: "mail", Queue: "default", State: jobstore.PermanentlyFailed, Attempts: 1, Error: text},
		{Type: "job.quarantined", ID: 9, Kind: "mail", Queue: "media", State: jobstore.Quarantined, Attempts: 4, Error: "processes died"},
		{Type: "job.quarantined", ID: 10, State: jobstore.Quarantined},
	}
	got := r.end(t)
	if len(got) != len(want) {
		t.Fatalf("told: %+v\nwant: %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("notice %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if n := r.logs.Len(); n != len(want) || r.dropped.Load() != 0 {
		t.Errorf("%d lines in the log, want one for each notice; %d dropped", n, r.dropped.Load())
	}
}

// What the webhook does not take is tried again, three times.
func TestTries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		codes            []int // the last one stays
		requests         int64
		told, dropped    int
		second, atSecond int64
	}{
		"at once":            {codes: []int{200}, requests: 1, told: 1},
		"at the fourth":      {codes: []int{500, 429, 404, 200}, requests: 4, told: 1},
		"never":              {codes: []int{503}, requests: 4, dropped: 1},
		"sent elsewhere":     {codes: []int{302}, requests: 4, dropped: 1},
		"never, two of them": {codes: []int{503}, requests: 4, dropped: 2, second: 1, atSecond: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			all := make(chan struct{})
			last := max(c.requests, c.atSecond)
			r := newRig(t, func(*http.Request) int {
				n := requests.Add(1)
				if n == last {
					defer close(all)
				}
				return c.codes[min(int(n), len(c.codes))-1]
			})
			r.start(t)
			r.Observe(t.Context(), ended(1, 1, 0, jobstore.PermanentlyFailed))
			if c.second > 0 {
				r.Observe(t.Context(), ended(2, 1, 0, jobstore.PermanentlyFailed))
			}
			<-all
			got := r.end(t)
			if requests.Load() != last || len(got) != c.told || r.dropped.Load() != int64(c.dropped) {
				t.Errorf("%d requests, %d told, %d dropped; want %+v", requests.Load(), len(got), r.dropped.Load(), c)
			}
		})
	}
}

// A webhook that does not answer holds up nobody: Observe returns, what finds no room is counted.
func TestSlowWebhook(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1000), make(chan struct{})
	r := newRig(t, func(*http.Request) int {
		asked <- struct{}{}
		<-release
		return 200
	})
	r.start(t)
	r.Observe(t.Context(), ended(1, 1, 0, jobstore.PermanentlyFailed))
	<-asked
	for id := range 300 {
		r.Observe(t.Context(), ended(jobstore.ID(id+2), 1, 0, jobstore.PermanentlyFailed))
	}
	if n := r.dropped.Load(); n != 300-256 {
		t.Errorf("%d notices found no room, want %d", n, 300-256)
	}
	if n := r.logs.Len(); n != 301 {
		t.Errorf("%d lines in the log, want all 301", n)
	}
	close(release)
	if got := r.end(t); len(got) != 257 {
		t.Errorf("%d notices arrived, want the first and all that waited", len(got))
	}
}

// Without a webhook there is the log.
func TestLogOnly(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	n := notice.New(notice.Config{Attempts: 1, Log: zap.New(core), Jobs: rows{}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	n.Observe(ctx, ended(1, 1, 0, jobstore.TemporarilyFailed))
	n.Observe(ctx, warren.Event{Kind: warren.JobQuarantined, Job: &jobstore.Job{ID: 9}})
	cancel()
	go func() { done <- n.Run(ctx) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if logs.FilterMessage("a job keeps failing").Len() != 1 || logs.Len() != 2 {
		t.Errorf("the log: %v", logs.All())
	}
}

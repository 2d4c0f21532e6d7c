// Package notice tells people about jobs that fail: a line in the log, and a POST to their webhook.
//
// It stands beside the work and never in its way: what is to be told waits in a bounded queue, and
// what finds no room there, or no listener after a few tries, is only counted. Whoever must know of
// every failure asks the database.
package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// The types of notices.
const (
	Failing     = "job.failing"     // it has failed Config.Attempts times and will be tried again
	Failed      = "job.failed"      // it failed for good
	Quarantined = "job.quarantined" // it took down too many consumer processes
)

// Notice is what the webhook gets, as JSON.
type Notice struct {
	Type     string         `json:"type"`
	ID       jobstore.ID    `json:"id"`
	Kind     string         `json:"kind"`
	Queue    string         `json:"queue"`
	State    jobstore.State `json:"state"`
	Attempts int            `json:"attempts"`
	Error    string         `json:"error"`
}

// Config is what Notices needs.
type Config struct {
	// Attempts is after how many failed attempts a job is told about.
	Attempts int
	// Webhook is told too; "" = the log only.
	Webhook string
	// Jobs gives the rest of a job of which only the number is known.
	Jobs interface {
		Get(ctx context.Context, id jobstore.ID) (jobstore.Job, error)
	}
	Version string
	// Pause is before the second try; it doubles. Default 1 s.
	Pause time.Duration
	// Dropped, if set, is told how many notices reached nobody.
	Dropped func(n int)
	Log     *zap.Logger
}

const (
	waiting = 256             // notices that may wait
	tries   = 4               // the first and three more
	call    = 5 * time.Second // for one try, and for one look at a row
	bye     = 5 * time.Second // for what waits when the consumer has ended
)

// Notices is a warren.Observer.
type Notices struct {
	cfg    Config
	queue  chan Notice
	client *http.Client
	down   bool // the webhook did not take the last one; used by Run
}

var _ warren.Observer = (*Notices)(nil)

// New prepares; Run tells.
func New(cfg Config) *Notices {
	if cfg.Pause <= 0 {
		cfg.Pause = time.Second
	}
	if cfg.Dropped == nil {
		cfg.Dropped = func(int) {}
	}
	return &Notices{cfg: cfg, queue: make(chan Notice, waiting), client: &http.Client{
		Timeout: call,
		// An answer that sends us elsewhere is not a listener.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute},
	}}
}

// Observe implements warren.Observer.
func (n *Notices) Observe(_ context.Context, e warren.Event) {
	switch {
	case e.Kind == warren.JobQuarantined:
		n.add(Notice{Type: Quarantined, ID: e.Job.ID, State: jobstore.Quarantined})
	case e.Kind != warren.JobEnded:
	case e.Outcome.State == jobstore.PermanentlyFailed:
		n.say("a job has failed for good", about(Failed, e))
	case e.Outcome.State == jobstore.TemporarilyFailed && failures(e.Job) == n.cfg.Attempts:
		n.say("a job keeps failing", about(Failing, e))
	}
}

// failures is how often the attempts of a job have failed, this one included. A crash used up an
// attempt and did not fail; whatever happens between, each failure has its own number here.
func failures(job *jobstore.Job) int { return job.Attempts - job.Crashes }

func about(what string, e warren.Event) Notice {
	return Notice{
		Type: what, ID: e.Job.ID, Kind: e.Job.Kind, Queue: e.Job.Queue, State: e.Outcome.State, Attempts: e.Job.Attempts,
		Error: e.Outcome.Error,
	}
}

// say writes the line at once: lines are not to wait for a webhook.
func (n *Notices) say(line string, one Notice) {
	n.cfg.Log.Warn(line, one.fields()...)
	if n.cfg.Webhook != "" {
		n.add(one)
	}
}

func (one *Notice) fields() []zap.Field {
	return []zap.Field{
		zap.Int64("job_id", int64(one.ID)), zap.String("kind", one.Kind), zap.String("queue", one.Queue),
		zap.Int("attempts", one.Attempts), zap.String("error", one.Error),
	}
}

func (n *Notices) add(one Notice) {
	select {
	case n.queue <- one:
	default:
		n.cfg.Dropped(1)
	}
}

// Run tells until ctx ends, and then, for a short time, what waits.
func (n *Notices) Run(ctx context.Context) error {
	defer n.client.CloseIdleConnections()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(bye, cancel) })
	defer stop()
	for {
		select {
		case one := <-n.queue:
			n.tell(ctx, work, one)
			continue
		default:
		}
		select {
		case one := <-n.queue:
			n.tell(ctx, work, one)
		case <-ctx.Done():
			if len(n.queue) == 0 {
				return nil
			}
		}
	}
}

// tell POSTs, at most tries times. There is one try while the consumer ends, and while the webhook
// does not take anything.
func (n *Notices) tell(ctx, work context.Context, one Notice) {
	if one.Type == Quarantined {
		one = n.complete(work, one)
		n.cfg.Log.Error("a job was quarantined: consumer processes died while they ran it", one.fields()...)
	}
	if n.cfg.Webhook == "" {
		return
	}
	var err error
	for try := range tries {
		if try > 0 && (n.down || !pause(ctx, n.cfg.Pause<<(try-1))) {
			break
		}
		if err = n.post(work, one); err == nil {
			n.down = false
			return
		}
	}
	n.down = true
	n.cfg.Dropped(1)
	n.cfg.Log.Warn("nobody could be told of a job: the webhook of notify does not take it",
		zap.Int64("job_id", int64(one.ID)), zap.String("notice", one.Type), zap.Error(err))
}

// complete adds what the database knows of a job.
func (n *Notices) complete(ctx context.Context, one Notice) Notice {
	ctx, cancel := context.WithTimeout(ctx, call)
	defer cancel()
	job, err := n.cfg.Jobs.Get(ctx, one.ID)
	if err == nil {
		one.Kind, one.Queue, one.Attempts, one.Error = job.Kind, job.Queue, job.Attempts, job.Error
	}
	return one
}

func (n *Notices) post(ctx context.Context, one Notice) error {
	body, err := json.Marshal(one)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.cfg.Webhook, bytes.NewReader(body))
	if err != nil {
		return plain(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "warren/"+n.cfg.Version)
	res, err := n.client.Do(req)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("it answers %s", res.Status)
	}
	return nil
}

// plain takes the URL out of an error: a webhook's path is mostly a secret.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// pause waits about d, and reports false when ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

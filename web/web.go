package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Backend is what the API needs: the verbs of an installation.
type Backend interface {
	Publisher
	Reader
	Operator
}

// Publisher makes jobs: *warren.Client has it.
type Publisher interface {
	PublishMany(ctx context.Context, items []warren.Item) ([]warren.Published, error)
	PublishOnce(ctx context.Context, r jobstore.Request, items []warren.Item) ([]warren.Published, error)
}

// Reader looks at jobs and at who runs them: a store has all but Why and ParsePriorities.
type Reader interface {
	Get(ctx context.Context, id jobstore.ID) (jobstore.Job, error)
	Lines(ctx context.Context, f jobstore.LineFilter) ([]jobstore.Line, error)
	Files(ctx context.Context, id jobstore.ID) ([]jobstore.File, error)
	OpenFile(ctx context.Context, id jobstore.FileID) (io.ReadCloser, error)
	List(ctx context.Context, f jobstore.Filter) ([]jobstore.Job, error)
	Stats(ctx context.Context) (jobstore.Stats, error)
	Queues(ctx context.Context) ([]jobstore.QueueInfo, error)
	Consumers(ctx context.Context) ([]jobstore.ConsumerInfo, error)
	Kinds(ctx context.Context) ([]jobstore.KindInfo, error)
	Why(ctx context.Context, id jobstore.ID) (Explanation, error)
	// Batch tells how far a batch has come; a client has it.
	Batch(ctx context.Context, id jobstore.StepID) (warren.BatchInfo, error)
	// ParsePriorities reads a range of configured priorities, such as 20-40.
	ParsePriorities(text string) ([]int, error)
}

// Operator changes what becomes of jobs. A store has the orders, a client CheckEdit.
type Operator interface {
	CheckEdit(o warren.EditOpts) (jobstore.Edit, error)
	Edit(ctx context.Context, ids []jobstore.ID, e jobstore.Edit) (jobstore.Changed, error)
	Retry(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)
	Cancel(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)
	Delete(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)
}

// Explanation says why a job does not run, or that it does.
type Explanation struct {
	ID      jobstore.ID     `json:"id"`
	State   jobstore.State  `json:"state"`
	Verdict string          `json:"verdict"` // final, running, blocked or runnable
	Now     time.Time       `json:"now"`     // the database's clock
	Gates   []jobstore.Gate `json:"gates"`
}

// Config is how a handler is made. Only Backend is needed.
type Config struct {
	Backend Backend
	// Token must come with every request, as "Authorization: Bearer TOKEN". "" = anybody may ask,
	// which is for listeners that only this machine reaches.
	Token string
	// Hosts are the names that the Host header may have, without a port: a page elsewhere that
	// resolves its own name to this machine is refused. Empty = any.
	Hosts []string
	// Stop, when closed, ends streams of events, so that a server can drain. nil = they go on.
	Stop <-chan struct{}
	// Log gets what went wrong inside, with the request's id. Default: nothing is logged.
	Log *zap.Logger
	// MaxBody is how many bytes one job may have, default 1 MiB; MaxBulk, an array of them, default
	// 16 MiB; MaxJobs, how many may be in it, default 10000.
	MaxBody, MaxBulk int64
	MaxJobs          int
	// MaxStreams is how many streams of events there may be at a time, default 64: each looks at
	// its job's row twice a second.
	MaxStreams int
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	c.MaxBulk = cmp.Or(c.MaxBulk, 16<<20)
	c.MaxJobs = cmp.Or(c.MaxJobs, 10_000)
	c.MaxStreams = cmp.Or(c.MaxStreams, 64)
	return c
}

// answerWithin is how long the backend may take for one answer.
const answerWithin = 30 * time.Second

// base is where the API begins.
const base = "/api/v1"

// handler serves the routes.
type handler struct {
	Config

	digest  [sha256.Size]byte // of the token
	mux     *http.ServeMux
	streams chan struct{} // holds a token for each stream of events
}

// route is one thing that can be asked.
type route struct {
	method, path string
	produces     string   // the media type of its answer
	also         string   // another that it gives when asked to
	takes        bool     // a JSON body
	params       []string // of its query
	serve        func(h *handler, w http.ResponseWriter, r *http.Request) error
}

// routes are all there is. openapi.json has the same list.
func routes() []route {
	get, post, one := http.MethodGet, http.MethodPost, base+"/jobs/{id}"
	return []route{
		{method: post, path: base + "/jobs", produces: mediaJSON, takes: true, serve: (*handler).publish},
		{method: get, path: base + "/jobs", produces: mediaJSON, params: listParams(), serve: (*handler).list},
		{method: get, path: one, produces: mediaJSON, serve: (*handler).show},
		{method: http.MethodPatch, path: one, produces: mediaJSON, takes: true, serve: (*handler).edit},
		{method: http.MethodDelete, path: one, produces: mediaJSON, serve: (*handler).remove},
		{method: post, path: one + "/retry", produces: mediaJSON, serve: (*handler).retry},
		{method: post, path: one + "/cancel", produces: mediaJSON, serve: (*handler).cancel},
		{method: get, path: one + "/why", produces: mediaJSON, serve: (*handler).why},
		{method: get, path: one + "/logs", produces: mediaJSON, also: mediaText, params: logParams(), serve: (*handler).logs},
		{method: get, path: one + "/files", produces: mediaJSON, serve: (*handler).files},
		{method: get, path: one + "/files/{name}", produces: mediaAny, serve: (*handler).file},
		{method: get, path: one + "/events", produces: mediaEvents, params: []string{"logs"}, serve: (*handler).events},
		{method: get, path: base + "/stats", produces: mediaJSON, serve: (*handler).stats},
		{method: get, path: base + "/queues", produces: mediaJSON, serve: (*handler).queues},
		{method: get, path: base + "/consumers", produces: mediaJSON, serve: (*handler).consumers},
		{method: get, path: base + "/kinds", produces: mediaJSON, serve: (*handler).kinds},
		{method: get, path: base + "/batches/{id}", produces: mediaJSON, serve: (*handler).batch},
		{method: get, path: base + "/openapi.json", produces: mediaJSON, serve: (*handler).openapi},
	}
}

// New makes the handler. It starts nothing.
func New(cfg Config) http.Handler {
	h := &handler{Config: cfg.withDefaults(), mux: http.NewServeMux()}
	h.digest = sha256.Sum256([]byte(h.Token))
	h.streams = make(chan struct{}, h.MaxStreams)
	for _, one := range routes() {
		h.mux.HandleFunc(one.method+" "+one.path, func(w http.ResponseWriter, r *http.Request) { h.run(w, r, one) })
	}
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, problem(http.StatusForbidden, "cross-origin", "the request comes from a page of another origin"))
	}))
	return h.guarded(origin.Handler(h.authorized(http.HandlerFunc(h.dispatch))))
}

// run serves one route after a look at what the client sends and takes.
func (h *handler) run(w http.ResponseWriter, r *http.Request, one route) {
	err := negotiate(r, one)
	if err == nil {
		err = checkParams(r, one.params)
	}
	if err == nil {
		err = one.serve(h, w, r.WithContext(jobstore.WithActor(r.Context(), "http api")))
	}
	if err != nil {
		h.fail(w, r, err)
	}
}

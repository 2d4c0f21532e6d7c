package web

import (
	"cmp"
	"context"
	"crypto/sha256"
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
}

// Publisher makes jobs: *warren.Client has it.
type Publisher interface {
	PublishMany(ctx context.Context, items []warren.Item) ([]warren.Published, error)
}

// Reader looks at jobs and at who runs them.
type Reader interface {
	Get(ctx context.Context, id jobstore.ID) (jobstore.Job, error)
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
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	c.MaxBody = cmp.Or(c.MaxBody, 1<<20)
	c.MaxBulk = cmp.Or(c.MaxBulk, 16<<20)
	c.MaxJobs = cmp.Or(c.MaxJobs, 10_000)
	return c
}

// answerWithin is how long the backend may take for one answer.
const answerWithin = 30 * time.Second

// base is where the API begins.
const base = "/api/v1"

// handler serves the routes.
type handler struct {
	Config

	digest [sha256.Size]byte // of the token
	mux    *http.ServeMux
}

// route is one thing that can be asked.
type route struct {
	method, path string
	produces     string // the media type of its answer
	takes        bool   // a JSON body
	serve        func(h *handler, w http.ResponseWriter, r *http.Request) error
}

// routes are all there is. openapi.json has the same list.
func routes() []route {
	return []route{
		{method: http.MethodPost, path: base + "/jobs", produces: mediaJSON, takes: true, serve: (*handler).publish},
	}
}

// New makes the handler. It starts nothing.
func New(cfg Config) http.Handler {
	h := &handler{Config: cfg.withDefaults(), mux: http.NewServeMux()}
	h.digest = sha256.Sum256([]byte(h.Token))
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
	if err := negotiate(r, one); err != nil {
		h.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	if err := one.serve(h, w, r.WithContext(ctx)); err != nil {
		h.fail(w, r, err)
	}
}

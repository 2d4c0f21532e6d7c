package web

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// The media types of the API.
const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
	mediaEvents  = "text/event-stream"
	mediaText    = "text/plain"
	mediaAny     = "application/octet-stream" // or whatever a file says that it is
)

// guarded comes before everything else: the headers of every answer, the names this server goes
// by, and what to do when a route breaks.
func (h *handler) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cache-Control", "no-store")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		defer func() {
			switch broken := recover(); broken {
			case nil:
			case http.ErrAbortHandler:
				panic(broken) // net/http's own way to hang up
			default:
				h.internal(w, r, zap.Any("panic", broken), zap.ByteString("stack", debug.Stack()))
			}
		}()
		if len(h.Hosts) > 0 && !slices.Contains(h.Hosts, hostOf(r)) {
			h.fail(w, r, problem(http.StatusMisdirectedRequest, "wrong-host",
				"the Host header names another server than this one; allowed are "+strings.Join(h.Hosts, ", ")))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOf is the name in the Host header, without its port.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// authorized lets those through who know the token.
func (h *handler) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.Token != "" && !h.knows(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="warren"`)
			h.fail(w, r, problem(http.StatusUnauthorized, "unauthorized", "send the API's token as Authorization: Bearer TOKEN"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows compares digests, which are of one length, in constant time.
func (h *handler) knows(authorization string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(digest[:], h.digest[:]) == 1
}

// dispatch finds the route. The mux's own words for what there is not would be plain text, and it
// would redirect paths that it can clean.
func (h *handler) dispatch(w http.ResponseWriter, r *http.Request) {
	if path.Clean(r.URL.Path) == r.URL.Path {
		if _, pattern := h.mux.Handler(r); pattern != "" {
			h.mux.ServeHTTP(w, r)
			return
		}
		if allowed := h.methods(r); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			h.fail(w, r, problem(http.StatusMethodNotAllowed, "method-not-allowed", "this path takes "+strings.Join(allowed, ", ")))
			return
		}
	}
	h.fail(w, r, problem(http.StatusNotFound, "not-found", "there is nothing at this path; "+base+"/openapi.json lists what there is"))
}

// methods are those that the path of a request takes.
func (h *handler) methods(r *http.Request) []string {
	var list []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := h.mux.Handler(other); pattern != "" {
			list = append(list, method)
		}
	}
	return list
}

// negotiate refuses bodies that the route does not take and clients that do not take its answer.
func negotiate(r *http.Request, one route) error {
	if accept := strings.Join(r.Header.Values("Accept"), ","); one.produces != mediaAny && !accepts(accept, one.produces) && (one.also == "" || !accepts(accept, one.also)) {
		return problem(http.StatusNotAcceptable, "not-acceptable", "the answer is "+one.produces+", which the Accept header excludes")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "bodies are taken as they are; send this one without a Content-Encoding")
	}
	if r.Header.Get("If-Match") != "" || r.Header.Get("If-Unmodified-Since") != "" {
		return problem(http.StatusPreconditionFailed, "precondition-failed", "jobs have no versions, so that the condition cannot be checked; leave it out")
	}
	hasBody := r.ContentLength != 0
	if !one.takes {
		if hasBody {
			return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "this takes no body")
		}
		return nil
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != mediaJSON || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return problem(http.StatusUnsupportedMediaType, "unsupported-media-type", "send JSON in UTF-8, as Content-Type: "+mediaJSON)
	}
	return nil
}

// accepts reports whether an Accept header allows a media type. The most specific range decides.
func accepts(header, media string) bool {
	if strings.TrimSpace(header) == "" {
		return true
	}
	family, _, _ := strings.Cut(media, "/")
	best, allowed := -1, false
	for part := range strings.SplitSeq(header, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		rank := slices.Index([]string{"*/*", family + "/*", media}, name)
		if rank < best || rank < 0 {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		best, allowed = rank, err != nil || q > 0
	}
	return allowed
}

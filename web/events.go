package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// The pace of a stream of events.
const (
	lookEvery  = 500 * time.Millisecond
	aliveEvery = 15 * time.Second // proxies end connections on which nothing comes
	streamFor  = time.Hour        // a client that is still interested connects again by itself
	writeFor   = 10 * time.Second // for a client that does not read
)

// change is one event: where a job stands.
type change struct {
	ID         jobstore.ID    `json:"id"`
	State      jobstore.State `json:"state"`
	Attempts   int            `json:"attempts"`
	LeaseNo    int64          `json:"lease_no"`
	Error      string         `json:"error,omitempty"`
	FinishedAt *time.Time     `json:"finished_at,omitempty"`
	Final      bool           `json:"final"`
}

// view is a look at a job.
type view struct {
	change

	progress *jobstore.Progress
}

// mark tells an event from others of its job. A client that lost its connection sends the last one.
func (c change) mark() string { return fmt.Sprintf("%d-%d-%s", c.LeaseNo, c.Attempts, c.State) }

// events streams the states of a job, how far it is, and its log for those who want it, until it has ended. The row is looked at twice a second, so
// that states that pass in between are not seen.
func (h *handler) events(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		return problem(http.StatusServiceUnavailable, "too-many-streams",
			fmt.Sprintf("there are %d streams of events already; ask for the job itself now and then", h.MaxStreams))
	}
	ctx, cancel := context.WithTimeout(r.Context(), streamFor)
	defer cancel()
	now, err := h.glance(ctx, id)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", mediaEvents)
		return nil
	}
	seen, err := seenOf(r)
	if err != nil {
		return err
	}
	if all, err := h.knowsAll(ctx, now, seen); err != nil {
		return err
	} else if all {
		w.WriteHeader(http.StatusNoContent) // which tells an EventSource to connect no more
		return nil
	}
	s := stream{w: w, control: http.NewResponseController(w)}
	if s.begin() == nil {
		h.follow(ctx, &s, now, seen)
	}
	return nil
}

// seen is what a client knows already.
type seen struct {
	state    string
	progress time.Time
	log      *jobstore.LineMark // nil = it wants no lines
}

// seenOf reads the query and the last event that a client got before it lost its connection.
func seenOf(r *http.Request) (s seen, err error) {
	q, err := parseQuery(r)
	if err != nil {
		return s, err
	}
	state, mark, both := strings.Cut(r.Header.Get("Last-Event-ID"), "/")
	s.state = state
	switch wants, err := strconv.ParseBool(cmp.Or(q.Get("logs"), "0")); {
	case err != nil:
		return s, invalid("logs", fmt.Sprintf("%.20q is neither 1 nor 0", q.Get("logs")))
	case wants:
		s.log = &jobstore.LineMark{}
	}
	if s.log != nil && both {
		if at, err := parseMark(mark); err == nil { // what is no place of ours begins at the beginning
			s.log = &at
		}
	}
	return s, nil
}

// id is what a client that lost its connection sends back.
func (s *seen) id() string {
	if s.log == nil {
		return s.state
	}
	return s.state + "/" + formatMark(*s.log)
}

// knowsAll reports whether a client has seen the end, and every line if it wants those.
func (h *handler) knowsAll(ctx context.Context, now view, s seen) (bool, error) {
	if !now.Final || now.mark() != s.state {
		return false, nil
	}
	if s.log == nil {
		return true, nil
	}
	lines, err := h.page(ctx, jobstore.LineFilter{Job: now.ID, After: *s.log, Limit: 1})
	return len(lines) == 0, err
}

// lastLooks is how often the log of a job that has ended is looked at: its last lines are written soon after.
const lastLooks = 3

// follow sends what changes until the job has ended, the client has gone or the server stops. What
// goes wrong ends the stream: the client connects again and is told then.
func (h *handler) follow(ctx context.Context, s *stream, now view, known seen) {
	look, alive := time.NewTicker(lookEvery), time.NewTicker(aliveEvery)
	defer look.Stop()
	defer alive.Stop()
	for looks := 0; ; {
		if h.tell(ctx, s, now, &known) != nil {
			return
		}
		if looks++; !now.Final {
			looks = 0
		} else if known.log == nil || looks >= lastLooks {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				return
			case <-h.Stop:
				return
			case <-alive.C:
				if s.write(": still here\n\n") != nil {
					return
				}
			case <-look.C:
				waiting = false
			}
		}
		var err error
		if now, err = h.glance(ctx, now.ID); err != nil {
			return
		}
	}
}

// tell sends what the client does not know yet. Of a job that has ended the end comes first: whoever wants
// no lines may go then.
func (h *handler) tell(ctx context.Context, s *stream, now view, known *seen) error {
	if p := now.progress; p != nil && !p.At.Equal(known.progress) {
		if err := s.send("progress", "", p); err != nil {
			return err
		}
		known.progress = p.At
	}
	if mark := now.mark(); mark != known.state {
		known.state = mark
		if err := s.send("state", known.id(), now.change); err != nil {
			return err
		}
	}
	for known.log != nil {
		lines, err := h.page(ctx, jobstore.LineFilter{Job: now.ID, After: *known.log, Limit: defaultLines})
		if err != nil {
			return err
		}
		for i := range lines {
			known.log = new(lines[i].Mark())
			if err := s.send("log", known.id(), &lines[i]); err != nil {
				return err
			}
		}
		if len(lines) < defaultLines {
			break
		}
	}
	return nil
}

func (h *handler) glance(ctx context.Context, id jobstore.ID) (view, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	j, err := h.Backend.Get(ctx, id)
	return view{change{
		ID: j.ID, State: j.State, Attempts: j.Attempts, LeaseNo: j.LeaseNo, Error: j.Error, FinishedAt: j.FinishedAt, Final: j.State.Final(),
	}, j.Progress}, err
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (s *stream) begin() error {
	s.w.Header().Set("Content-Type", mediaEvents)
	s.w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	s.w.WriteHeader(http.StatusOK)
	return s.write("retry: 2000\n\n")
}

func (s *stream) send(event, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if id != "" {
		id = "id: " + id + "\n"
	}
	return s.write("event: " + event + "\n" + id + "data: " + string(data) + "\n\n")
}

// write has a deadline of its own: the listener's is for answers that end soon. A writer that
// somebody has wrapped may know no deadlines.
func (s *stream) write(text string) error {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeFor)); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if _, err := io.WriteString(s.w, text); err != nil { //nolint:gosec // a stream of events is no page; its data is encoded
		return err
	}
	return s.control.Flush()
}

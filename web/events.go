package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// mark tells an event from others of its job. A client that lost its connection sends the last one.
func (c change) mark() string { return fmt.Sprintf("%d-%d-%s", c.LeaseNo, c.Attempts, c.State) }

// events streams the states of a job until it has ended. The row is looked at twice a second, so
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
	last := r.Header.Get("Last-Event-ID")
	if now.Final && now.mark() == last {
		w.WriteHeader(http.StatusNoContent) // which tells an EventSource to connect no more
		return nil
	}
	s := stream{w: w, control: http.NewResponseController(w)}
	if s.begin() == nil {
		h.follow(ctx, &s, now, last)
	}
	return nil
}

// follow sends what changes until the job has ended, the client has gone or the server stops. What
// goes wrong ends the stream: the client connects again and is told then.
func (h *handler) follow(ctx context.Context, s *stream, now change, last string) {
	look, alive := time.NewTicker(lookEvery), time.NewTicker(aliveEvery)
	defer look.Stop()
	defer alive.Stop()
	for {
		if mark := now.mark(); mark != last {
			if s.send(now) != nil {
				return
			}
			last = mark
		}
		if now.Final {
			return
		}
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
			var err error
			if now, err = h.glance(ctx, now.ID); err != nil {
				return
			}
		}
	}
}

func (h *handler) glance(ctx context.Context, id jobstore.ID) (change, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	j, err := h.Backend.Get(ctx, id)
	return change{
		ID: j.ID, State: j.State, Attempts: j.Attempts, LeaseNo: j.LeaseNo, Error: j.Error, FinishedAt: j.FinishedAt, Final: j.State.Final(),
	}, err
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

func (s *stream) send(c change) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.write("event: state\nid: " + c.mark() + "\ndata: " + string(data) + "\n\n")
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

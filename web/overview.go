package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// overview answers with something about the whole installation.
func overview[T any](w http.ResponseWriter, r *http.Request, look func(ctx context.Context) (T, error)) error {
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	v, err := look(ctx)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, v)
}

func (h *handler) stats(w http.ResponseWriter, r *http.Request) error {
	return overview(w, r, h.Backend.Stats)
}

type queueList struct {
	Queues []queue `json:"queues"`
}

// queue is a queue with what it holds at each priority.
type queue struct {
	jobstore.QueueInfo

	Bands []band `json:"priorities"`
}

type band struct {
	jobstore.BandInfo

	Oldest float64 `json:"oldest_ready_seconds"`
}

func (h *handler) queues(w http.ResponseWriter, r *http.Request) error {
	return overview(w, r, func(ctx context.Context) (queueList, error) {
		found, err := h.Backend.Queues(ctx)
		list := queueList{Queues: make([]queue, len(found))}
		for i, q := range found {
			list.Queues[i] = queue{QueueInfo: q, Bands: make([]band, len(q.Bands))}
			for k, b := range q.Bands {
				list.Queues[i].Bands[k] = band{BandInfo: b, Oldest: b.Oldest.Seconds()}
			}
		}
		return list, err
	})
}

type consumerList struct {
	Consumers []jobstore.ConsumerInfo `json:"consumers"`
}

func (h *handler) consumers(w http.ResponseWriter, r *http.Request) error {
	return overview(w, r, func(ctx context.Context) (consumerList, error) {
		found, err := h.Backend.Consumers(ctx)
		return consumerList{Consumers: filled(found)}, err
	})
}

type kindList struct {
	Kinds []kind `json:"kinds"`
}

// kind is a kind as it was registered, and who has a handler for it.
type kind struct {
	jobstore.KindInfo

	Timeout float64 `json:"timeout_seconds"`
}

func (h *handler) kinds(w http.ResponseWriter, r *http.Request) error {
	return overview(w, r, func(ctx context.Context) (kindList, error) {
		found, err := h.Backend.Kinds(ctx)
		list := kindList{Kinds: make([]kind, len(found))}
		for i, k := range found {
			list.Kinds[i] = kind{KindInfo: k, Timeout: k.Timeout.Seconds()}
		}
		return list, err
	})
}

func (h *handler) batch(w http.ResponseWriter, r *http.Request) error {
	id, ok := parseID(r.PathValue("id"))
	if !ok {
		return invalid("id", fmt.Sprintf("%.40q is not the number of a batch: digits, not beginning with 0", r.PathValue("id")))
	}
	return overview(w, r, func(ctx context.Context) (warren.BatchInfo, error) {
		b, err := h.Backend.Batch(ctx, jobstore.StepID(id))
		if errors.Is(err, jobstore.ErrNotFound) {
			err = problem(http.StatusNotFound, "no-such-batch", fmt.Sprintf("there is no batch %d", id))
		}
		return b, err
	})
}

package web

import (
	"context"
	"maps"
	"net/http"
	"slices"

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

// kind is a handler that living consumers have.
type kind struct {
	Kind      string   `json:"kind"`
	Consumers int      `json:"consumers"`
	Queues    []string `json:"queues"` // that these consumers take
}

func (h *handler) kinds(w http.ResponseWriter, r *http.Request) error {
	return overview(w, r, func(ctx context.Context) (kindList, error) {
		consumers, err := h.Backend.Consumers(ctx)
		known := map[string]kind{}
		for _, c := range consumers {
			if !c.Alive {
				continue
			}
			for _, name := range c.Kinds {
				k := known[name]
				queues := append(slices.Clone(k.Queues), c.Queues...)
				slices.Sort(queues)
				known[name] = kind{Kind: name, Consumers: k.Consumers + 1, Queues: filled(slices.Compact(queues))}
			}
		}
		list := kindList{Kinds: []kind{}}
		for _, name := range slices.Sorted(maps.Keys(known)) {
			list.Kinds = append(list.Kinds, known[name])
		}
		return list, err
	})
}

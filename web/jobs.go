package web

import (
	"bufio"
	"context"
	"net/http"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// page is a part of a list.
type page struct {
	Jobs []jobstore.Job `json:"jobs"`
	// Next is the cursor of the page after this one; none on the last.
	Next string `json:"next,omitempty"`
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) error {
	f, err := h.filter(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	limit := f.Limit
	f.Limit++ // one more tells whether there is another page
	jobs, err := h.Backend.List(ctx, f)
	if err != nil {
		return err
	}
	p := page{Jobs: filled(jobs)}
	if len(jobs) > limit {
		p.Jobs = jobs[:limit]
		p.Next = cursor(jobs[limit-1].ID)
	}
	return answer(w, http.StatusOK, p)
}

// filled makes an empty list [] in JSON.
func filled[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// about answers with something about the job that the path names.
func about(w http.ResponseWriter, r *http.Request, look func(ctx context.Context, id jobstore.ID) (any, error)) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	v, err := look(ctx, id)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, v)
}

func (h *handler) show(w http.ResponseWriter, r *http.Request) error {
	return about(w, r, func(ctx context.Context, id jobstore.ID) (any, error) { return h.Backend.Get(ctx, id) })
}

func (h *handler) why(w http.ResponseWriter, r *http.Request) error {
	return about(w, r, func(ctx context.Context, id jobstore.ID) (any, error) {
		e, err := h.Backend.Why(ctx, id)
		e.Gates = filled(e.Gates)
		return e, err
	})
}

// order carries out an order about the job that the path names.
type order func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error)

// ordered answers with the job after an order. What its state does not allow is a conflict.
func (h *handler) ordered(w http.ResponseWriter, r *http.Request, do order) error {
	return about(w, r, func(ctx context.Context, id jobstore.ID) (any, error) {
		if err := obey(ctx, id, do); err != nil {
			return nil, err
		}
		return h.Backend.Get(ctx, id)
	})
}

func obey(ctx context.Context, id jobstore.ID, do order) error {
	changed, err := do(ctx, []jobstore.ID{id})
	if err != nil || len(changed.Refused) == 0 {
		return err
	}
	no := changed.Refused[0]
	if no.Missing() {
		return jobstore.ErrNotFound
	}
	return problem(http.StatusConflict, "refused", no.Reason)
}

func (h *handler) retry(w http.ResponseWriter, r *http.Request) error {
	return h.ordered(w, r, h.Backend.Retry)
}

func (h *handler) cancel(w http.ResponseWriter, r *http.Request) error {
	return h.ordered(w, r, h.Backend.Cancel)
}

func (h *handler) edit(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, bufio.NewReader(r.Body), h.MaxBody)
	if err != nil {
		return err
	}
	opts, err := warren.ParseEdit(body)
	if err != nil {
		return err
	}
	change, err := h.Backend.CheckEdit(opts)
	if err != nil {
		return err
	}
	return h.ordered(w, r, func(ctx context.Context, ids []jobstore.ID) (jobstore.Changed, error) {
		return h.Backend.Edit(ctx, ids, change)
	})
}

func (h *handler) remove(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	if err := obey(ctx, id, h.Backend.Delete); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

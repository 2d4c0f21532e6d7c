package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"

	"go.uber.org/zap"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// Problem is the body of every answer that is an error, as RFC 9457 has it.
type Problem struct {
	// Type is stable: programs may go by it.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Field is the key, parameter or header that is wrong.
	Field string `json:"field,omitempty"`
	// Index is the job of an array that is wrong, from 0.
	Index *int `json:"index,omitempty"`
	// RequestID is also in the server's log, with what went wrong inside.
	RequestID string `json:"request_id,omitempty"`
}

// problemError is a problem on its way to the client.
type problemError struct{ Problem }

func (p *problemError) Error() string { return p.Detail }

func problem(status int, kind, detail string) *problemError {
	return &problemError{Problem{Type: "urn:warren:problem:" + kind, Title: http.StatusText(status), Status: status, Detail: detail}}
}

// invalid is a problem with what was sent, in a field ("" = none in particular).
func invalid(field, detail string) *problemError {
	p := problem(http.StatusUnprocessableEntity, "invalid", detail)
	p.Field = field
	return p
}

// fail answers with an error. Whatever is not meant for clients is logged, and answered with an
// id only: it may hold SQL, addresses or what other clients have sent.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *problemError
	switch {
	case errors.As(err, &p):
	case errors.Is(err, warren.ErrInvalidJob):
		p = invalidJob(err)
	case errors.Is(err, jobstore.ErrNotFound):
		p = problem(http.StatusNotFound, "no-such-job", "there is no job "+r.PathValue("id"))
	case r.Context().Err() != nil: // the client has gone: nobody reads the answer
		return
	case errors.Is(err, context.DeadlineExceeded):
		w.Header().Set("Retry-After", "5")
		p = problem(http.StatusServiceUnavailable, "too-slow", "the answer took too long; what was asked may have been done: ask again, with the same Idempotency-Key")
	case errors.Is(err, jobstore.ErrKeyReused):
		p = invalid(keyHeader, "this key was used for another request within a day; a new request needs a new key")
	case errors.Is(err, jobstore.ErrRefused):
		p = problem(http.StatusConflict, "refused", "the job's state does not allow this")
		p.RequestID = h.logged(r, zap.Error(err))
	case errors.Is(err, jobstore.ErrInvalid):
		p = invalid("", "the database cannot store this")
		p.RequestID = h.logged(r, zap.Error(err))
	default:
		h.internal(w, r, zap.Error(err))
		return
	}
	p.write(w)
}

func invalidJob(err error) *problemError {
	p := invalid("", err.Error())
	if field, ok := errors.AsType[*warren.FieldError](err); ok {
		p.Field = field.Field
	}
	if item, ok := errors.AsType[*warren.ItemError](err); ok {
		p.Index, p.Detail = &item.Index, item.Err.Error()
	}
	return p
}

// internal answers for what is not the client's business.
func (h *handler) internal(w http.ResponseWriter, r *http.Request, what ...zap.Field) {
	p := problem(http.StatusInternalServerError, "internal", "something went wrong inside; the server's log has it under the request's id")
	p.RequestID = h.logged(r, what...)
	p.write(w)
}

// logged writes what went wrong to the log and returns the id it has there.
func (h *handler) logged(r *http.Request, what ...zap.Field) (id string) {
	id = rand.Text()
	h.Log.Error("a request has failed", append(what, zap.String("request_id", id), zap.String("method", r.Method), zap.String("route", r.Pattern))...)
	return id
}

func (p *problemError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", mediaProblem)
	writeBody(w, p.Status, p.Problem)
}

// answer writes what was asked for.
func answer(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", mediaJSON)
	writeBody(w, status, v)
	return nil
}

// writeBody encodes v. A client that goes away while it is written is nobody's error.
func writeBody(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

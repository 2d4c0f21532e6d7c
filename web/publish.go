package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// published is what became of a job.
type published struct {
	ID       jobstore.ID    `json:"id"`
	State    jobstore.State `json:"state"`
	Queue    string         `json:"queue"`
	Priority int            `json:"priority"`
	// Existing is the job that holds the unique key of a REDUNDANT one.
	Existing jobstore.ID `json:"existing,omitempty"`
}

// publish takes one job or an array of them: all are published, or none.
func (h *handler) publish(w http.ResponseWriter, r *http.Request) error {
	items, many, err := h.readJobs(w, r)
	if err != nil {
		return err
	}
	done, err := h.Backend.PublishMany(r.Context(), items)
	if err != nil {
		return err
	}
	list := make([]published, len(done))
	for i, d := range done {
		list[i] = published{ID: d.ID, State: d.State, Queue: d.Queue, Priority: d.Priority, Existing: d.Existing}
	}
	if many {
		return answer(w, http.StatusCreated, list)
	}
	w.Header().Set("Location", fmt.Sprintf("jobs/%d", list[0].ID)) // relative: wherever this is mounted
	return answer(w, http.StatusCreated, list[0])
}

// readJobs reads the jobs of a body.
func (h *handler) readJobs(w http.ResponseWriter, r *http.Request) (items []warren.Item, many bool, err error) {
	in := bufio.NewReader(r.Body)
	many, err = beginsArray(in)
	if err != nil {
		return nil, false, malformed(err)
	}
	limit := h.MaxBody
	if many {
		limit = h.MaxBulk
	}
	body, err := readBody(w, r, in, limit)
	if err != nil {
		return nil, many, err
	}
	texts := []json.RawMessage{body}
	if many {
		if err := json.Unmarshal(body, &texts); err != nil {
			return nil, many, malformed(err)
		}
	}
	items, err = h.parseJobs(texts, many)
	return items, many, err
}

// parseJobs reads each job by itself, so that an error names the one that is wrong.
func (h *handler) parseJobs(texts []json.RawMessage, many bool) ([]warren.Item, error) {
	switch {
	case len(texts) == 0:
		return nil, invalid("", "the array has no job")
	case len(texts) > h.MaxJobs:
		return nil, problem(http.StatusRequestEntityTooLarge, "too-large",
			fmt.Sprintf("%d jobs are more than the %d that one request may have; send several", len(texts), h.MaxJobs))
	}
	items := make([]warren.Item, len(texts))
	for i, text := range texts {
		if int64(len(text)) > h.MaxBody {
			return nil, tooLarge(h.MaxBody)
		}
		item, err := warren.ParseItem(text)
		if err != nil && many {
			err = &warren.ItemError{Index: i, Err: err}
		}
		if err != nil {
			return nil, err
		}
		items[i] = item
	}
	return items, nil
}

// beginsArray looks at the first byte that is no white space.
func beginsArray(in *bufio.Reader) (bool, error) {
	for {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return false, err
		case bytes.IndexByte([]byte(" \t\r\n"), c) < 0:
			return c == '[', in.UnreadByte()
		}
	}
}

// readBody reads a JSON value of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, in io.Reader, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, hangUp(w, limit)
	}
	body, err := io.ReadAll(io.LimitReader(in, limit+1))
	switch {
	case int64(len(body)) > limit:
		return nil, hangUp(w, limit)
	case err != nil:
		return nil, malformed(err)
	case !json.Valid(body):
		var v json.RawMessage
		return nil, malformed(json.Unmarshal(body, &v))
	}
	return body, nil
}

// hangUp ends the connection after the answer: the rest of a body that is too large is not read.
func hangUp(w http.ResponseWriter, limit int64) error {
	w.Header().Set("Connection", "close")
	return tooLarge(limit)
}

func tooLarge(limit int64) error {
	return problem(http.StatusRequestEntityTooLarge, "too-large",
		fmt.Sprintf("the body is larger than %d bytes; keep large data elsewhere and pass a reference to it, or send fewer jobs at a time", limit))
}

func malformed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends too early")
	}
	return problem(http.StatusBadRequest, "malformed", "the body is not valid JSON: "+err.Error())
}

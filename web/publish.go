package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

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
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	body, many, err := h.readJobs(w, r)
	if err != nil {
		return err
	}
	items, err := h.parseJobs(body, many)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	var done []warren.Published
	if key == "" {
		done, err = h.Backend.PublishMany(ctx, items)
	} else {
		done, err = h.Backend.PublishOnce(ctx, jobstore.Request{Key: key, Digest: sha256.Sum256(body)}, items)
	}
	if many && len(items) == 1 && errors.Is(err, warren.ErrInvalidJob) {
		err = &warren.ItemError{Index: 0, Err: err} // which a client that publishes one job leaves out
	}
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

// keyHeader names a request, so that it can be sent again.
const keyHeader = "Idempotency-Key"

// keyOf reads the key of a request, "" without one. Everybody who has the token is one caller.
func keyOf(r *http.Request) (string, error) {
	keys := r.Header.Values(keyHeader)
	switch {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", invalid(keyHeader, "the header is given more than once")
	}
	unseen := func(c rune) bool { return c < ' ' || c > '~' }
	if key := keys[0]; key != "" && len(key) <= maxKey && !strings.ContainsFunc(key, unseen) {
		return key, nil
	}
	return "", invalid(keyHeader, fmt.Sprintf("a key is 1 to %d printable ASCII characters, such as a UUID", maxKey))
}

// maxKey is how long the key of a request may be.
const maxKey = 255

// readJobs reads a body of one job, or of an array of them.
func (h *handler) readJobs(w http.ResponseWriter, r *http.Request) (body []byte, many bool, err error) {
	in := bufio.NewReader(r.Body)
	many, err = beginsArray(in)
	switch {
	case errors.Is(err, errBlank):
		return nil, false, hangUp(w, h.MaxBody)
	case err != nil:
		return nil, false, malformed(err)
	}
	limit := h.MaxBody
	if many {
		limit = h.MaxBulk
	}
	body, err = readBody(w, r, in, limit)
	return body, many, err
}

// parseJobs reads each job by itself, so that an error names the one that is wrong.
func (h *handler) parseJobs(body []byte, many bool) ([]warren.Item, error) {
	texts := []json.RawMessage{body}
	if many {
		if err := json.Unmarshal(body, &texts); err != nil {
			return nil, malformed(err)
		}
	}
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

// maxBlank is how much white space may be before a value. No limit of a body counts it.
const maxBlank = 1 << 10

var errBlank = errors.New("there is nothing but white space")

// beginsArray looks at the first byte that is no white space.
func beginsArray(in *bufio.Reader) (bool, error) {
	for range maxBlank {
		c, err := in.ReadByte()
		switch {
		case err != nil:
			return false, err
		case bytes.IndexByte([]byte(" \t\r\n"), c) < 0:
			return c == '[', in.UnreadByte()
		}
	}
	return false, errBlank
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

package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/warrenq/warren/jobstore"
)

// fileList are the files of a job.
type fileList struct {
	Files []jobstore.File `json:"files"`
}

func (h *handler) files(w http.ResponseWriter, r *http.Request) error {
	return about(w, r, func(ctx context.Context, id jobstore.ID) (any, error) {
		list, err := h.filesOf(ctx, id)
		return fileList{Files: filled(list)}, err
	})
}

// filesOf tells a job without files from none.
func (h *handler) filesOf(ctx context.Context, id jobstore.ID) ([]jobstore.File, error) {
	list, err := h.Backend.Files(ctx, id)
	if err == nil && len(list) == 0 {
		_, err = h.Backend.Get(ctx, id)
	}
	return list, err
}

// file gives the content of a file, as something to be saved: what a handler has kept is no page of this server, whatever
// type it says.
func (h *handler) file(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
	defer cancel()
	list, err := h.filesOf(ctx, id)
	if err != nil {
		return err
	}
	name := r.PathValue("name")
	for i := range list {
		if f := &list[i]; f.Name == name {
			return h.sendFile(w, r, f)
		}
	}
	return noFile(id, name)
}

func noFile(id jobstore.ID, name string) error {
	return problem(http.StatusNotFound, "no-such-file", fmt.Sprintf("job %d has no file %.255q", id, name))
}

func (h *handler) sendFile(w http.ResponseWriter, r *http.Request, f *jobstore.File) error {
	content, err := h.Backend.OpenFile(r.Context(), f.ID)
	if errors.Is(err, jobstore.ErrNotFound) { // it has gone since it was listed
		return noFile(f.Job, f.Name)
	}
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // it was only read
	header := w.Header()
	header.Set("Content-Type", f.Type)
	header.Set("Content-Length", strconv.FormatInt(f.Size, 10))
	header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.Name}))
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	if r.Method == http.MethodHead {
		return nil
	}
	to := &patient{w, http.NewResponseController(w)}
	// The status has been sent: what goes wrong now breaks the connection off, so that nobody takes a part for the whole.
	if n, err := io.Copy(to, content); err != nil || n != f.Size {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// patient gives each part of an answer a deadline of its own: the listener's is for answers that end soon.
type patient struct {
	io.Writer

	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(answerWithin)) // a writer that somebody has wrapped may know none
	return p.Writer.Write(b)
}

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/warrenq/warren/jobstore"
)

// jobLogs is what a job has said: what its row keeps, and a page of its log.
type jobLogs struct {
	ID     jobstore.ID             `json:"id"`
	State  jobstore.State          `json:"state"`
	Error  string                  `json:"error,omitempty"`
	Errors []jobstore.AttemptError `json:"errors"`
	Output json.RawMessage         `json:"output,omitempty"`
	Lines  []jobstore.Line         `json:"lines"`
	// Next is where to go on, as after: there are more lines now, or there may be later. None when the job has ended
	// and this is all.
	Next string `json:"next,omitempty"`
}

// The lines of a page.
const (
	defaultLines = 1000
	maxLines     = 10_000
)

func logParams() []string { return []string{"attempt", "level", "tail", "limit", "after", "download"} }

func (h *handler) logs(w http.ResponseWriter, r *http.Request) error {
	id, err := idOf(r)
	if err != nil {
		return err
	}
	f, download, err := lineFilter(r)
	if err != nil {
		return err
	}
	f.Job = id
	if download {
		return h.downloadLog(w, r, f)
	}
	return about(w, r, func(ctx context.Context, id jobstore.ID) (any, error) {
		j, err := h.Backend.Get(ctx, id) // before the lines: those of a job that has ended here are all there are, soon
		if err != nil {
			return nil, err
		}
		lines, err := h.Backend.Lines(ctx, f)
		if err != nil {
			return nil, err
		}
		out := jobLogs{ID: id, State: j.State, Error: j.Error, Errors: filled(j.Errors), Output: j.Output, Lines: filled(lines)}
		more := f.Last == 0 && len(lines) == f.Most()
		if mark := f.After; more || !j.State.Final() {
			if len(lines) > 0 {
				mark = lines[len(lines)-1].Mark()
			}
			out.Next = formatMark(mark)
		}
		return out, nil
	})
}

// lineFilter reads which lines are wanted.
func lineFilter(r *http.Request) (f jobstore.LineFilter, download bool, err error) {
	q, err := parseQuery(r)
	if err != nil {
		return f, false, err
	}
	f.Limit = defaultLines
	number := func(into *int, most int) func(string) error {
		return func(text string) error {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 || n > most {
				return fmt.Errorf("%.20q is not a number from 1 to %d", text, most)
			}
			*into = n
			return nil
		}
	}
	readers := map[string]func(string) error{
		"attempt": number(&f.Attempt, 1<<30), "tail": number(&f.Last, maxLines), "limit": number(&f.Limit, maxLines),
		"level": func(text string) error {
			if f.Levels = jobstore.Levels(jobstore.Level(strings.ToLower(text))); f.Levels == nil {
				return fmt.Errorf("%.20q is none of the levels debug, info, warn, error", text)
			}
			return nil
		},
		"after": func(text string) (err error) {
			f.After, err = parseMark(text)
			return err
		},
		"download": func(text string) (err error) {
			if download, err = strconv.ParseBool(text); err != nil {
				return fmt.Errorf("%.20q is neither 1 nor 0", text)
			}
			return nil
		},
	}
	for name, values := range q {
		if len(values) > 1 {
			return f, false, invalid(name, name+" is given more than once")
		}
		if err := readers[name](values[0]); err != nil { // checkParams has let nothing else through
			return f, false, invalid(name, err.Error())
		}
	}
	return f, download, nil
}

// downloadLog streams the whole log as text, a page at a time.
func (h *handler) downloadLog(w http.ResponseWriter, r *http.Request, f jobstore.LineFilter) error {
	if _, err := h.glance(r.Context(), f.Job); err != nil {
		return err
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", mediaText+"; charset=utf-8")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=\"job-%d.log\"", f.Job))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodHead {
		return nil
	}
	for begun := false; ; begun = true {
		lines, err := h.page(r.Context(), f)
		switch {
		case err != nil && begun:
			// The status has been sent: the connection breaks off, so that nobody takes a part for the whole.
			h.logged(r, zap.Error(err))
			panic(http.ErrAbortHandler)
		case err != nil:
			return err
		}
		_ = control.SetWriteDeadline(time.Now().Add(answerWithin)) // a writer that somebody has wrapped may know none
		for i := range lines {
			if _, err := io.WriteString(w, lines[i].Plain()+"\n"); err != nil { //nolint:gosec // plain text that is not sniffed
				return nil //nolint:nilerr // the client has gone
			}
		}
		if f.Last > 0 || len(lines) < f.Most() {
			return nil
		}
		f.After = lines[len(lines)-1].Mark()
	}
}

func (h *handler) page(ctx context.Context, f jobstore.LineFilter) ([]jobstore.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return h.Backend.Lines(ctx, f)
}

// formatMark writes a place in a log, opaque to clients.
func formatMark(m jobstore.LineMark) string { return fmt.Sprintf("%d-%d", m.LeaseNo, m.No) }

func parseMark(text string) (m jobstore.LineMark, err error) {
	lease, no, ok := strings.Cut(text, "-")
	m.LeaseNo, err = strconv.ParseInt(lease, 10, 64)
	if err == nil {
		m.No, err = strconv.Atoi(no)
	}
	if err != nil || !ok || m.LeaseNo < 0 || m.No < 0 || m.No > 1<<30 {
		return m, fmt.Errorf("%.40q is not the \"next\" of an earlier answer", text)
	}
	return m, nil
}

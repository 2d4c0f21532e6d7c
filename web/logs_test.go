package web_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/warrenq/warren/jobstore"
	"github.com/warrenq/warren/web"
)

// failing has the first page of a log, and then its database has gone.
type failing struct {
	web.Backend
}

func (failing) Get(context.Context, jobstore.ID) (j jobstore.Job, err error) {
	j.ID, j.State = 7, jobstore.Finished
	return j, nil
}

func (failing) Lines(_ context.Context, f jobstore.LineFilter) ([]jobstore.Line, error) {
	if f.After != (jobstore.LineMark{}) {
		return nil, errors.New("the database has gone")
	}
	lines := make([]jobstore.Line, f.Most())
	for i := range lines {
		lines[i].LeaseNo, lines[i].No = 1, i+1
	}
	return lines, nil
}

// Nobody takes a part of a log for the whole.
func TestALogThatBreaksOff(t *testing.T) {
	t.Parallel()
	h := web.New(web.Config{Backend: failing{}})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/jobs/7/logs?download=1", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/plain")
	res, err := server.Client().Do(req)
	if err != nil {
		return // broken off before anything was flushed, which is as clear
	}
	defer func() { _ = res.Body.Close() }()
	if text, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("%s, and a log that seems whole: …%q", res.Status, text[max(0, len(text)-200):])
	}
}

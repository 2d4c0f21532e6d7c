package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// FlowClient is a client for orders about flows.
func (a *App) FlowClient() (*warren.Client, error) {
	registry, err := a.Registry()
	if err != nil {
		return nil, err
	}
	client, err := warren.NewClient(a.clientConfig(registry, nil))
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// Flow reads a flow by its number or by that of one of its steps.
func (a *App) Flow(ctx context.Context, id jobstore.StepID) (jobstore.Flow, error) {
	return a.Store.Flow(ctx, id)
}

// shownJobs is how many jobs of a step are named.
const shownJobs = 20

// StepDetails are the first jobs of a step, and what was chosen by one that decides.
func (a *App) StepDetails(ctx context.Context, s *jobstore.Step) (ids []jobstore.ID, why map[string]string, err error) {
	jobs, err := a.Store.StepJobs(ctx, []jobstore.StepID{s.ID}, nil, 0, shownJobs)
	if err != nil {
		return nil, nil, err
	}
	for i := range jobs {
		ids = append(ids, jobs[i].ID)
		var c jobstore.Choice
		if s.Role == jobstore.RoleDecide && json.Unmarshal(jobs[i].Output, &c) == nil {
			why = c.Why
		}
	}
	return ids, why, nil
}

// FlowGraph draws a flow for mermaid.js: by its number, or by its name, the one that was published last.
func (a *App) FlowGraph(ctx context.Context, which string) (string, error) {
	id, err := strconv.ParseInt(which, 10, 64)
	if err != nil {
		list, err := a.Store.ListFlows(ctx, jobstore.FlowFilter{Name: which, Limit: 1})
		if err != nil {
			return "", err
		}
		if len(list) == 0 {
			return "", fmt.Errorf("no flow of the name %q: %w", which, jobstore.ErrNotFound)
		}
		id = int64(list[0].ID)
	}
	f, err := a.Store.Flow(ctx, jobstore.StepID(id))
	if err != nil {
		return "", err
	}
	return mermaid(&f), nil
}

func mermaid(f *jobstore.Flow) string {
	var b strings.Builder
	b.WriteString("graph TD\n")
	children := map[jobstore.StepID][]*jobstore.Step{}
	for i := range f.Steps {
		s := &f.Steps[i]
		children[s.Parent] = append(children[s.Parent], s)
	}
	for _, s := range children[0] {
		drawStep(&b, s, children, "  ")
	}
	for _, e := range f.Edges {
		if e.On == jobstore.OnSuccess {
			fmt.Fprintf(&b, "  s%d --> s%d\n", e.From, e.To)
		} else {
			fmt.Fprintf(&b, "  s%d -. %s .-> s%d\n", e.From, e.On, e.To)
		}
	}
	return b.String()
}

// drawStep draws a step, and what it holds as a box around it.
func drawStep(b *strings.Builder, s *jobstore.Step, children map[jobstore.StepID][]*jobstore.Step, indent string) {
	text := fmt.Sprintf("%s %s", firstOf(s.Name, string(s.Role)), s.State)
	if s.Total > 1 || s.Role == jobstore.RoleBatch {
		text += fmt.Sprintf(" %d/%d", s.Done+s.Failed+s.Cancelled, s.Total)
	}
	text = strings.NewReplacer(`"`, "'", "\n", " ").Replace(text)
	var inner, callbacks []*jobstore.Step
	for _, c := range children[s.ID] {
		if c.Role == jobstore.RoleCallback {
			callbacks = append(callbacks, c)
		} else {
			inner = append(inner, c)
		}
	}
	switch {
	case len(inner) > 0:
		fmt.Fprintf(b, "%ssubgraph s%d[\"%s\"]\n", indent, s.ID, text)
		for _, c := range inner {
			drawStep(b, c, children, indent+"  ")
		}
		fmt.Fprintf(b, "%send\n", indent)
	case s.Role == jobstore.RoleDecide:
		fmt.Fprintf(b, "%ss%d{\"%s\"}\n", indent, s.ID, text)
	case s.Role == jobstore.RoleCallback:
		fmt.Fprintf(b, "%ss%d([\"%s\"])\n", indent, s.ID, text)
	default:
		fmt.Fprintf(b, "%ss%d[\"%s\"]\n", indent, s.ID, text)
	}
	for _, c := range callbacks {
		drawStep(b, c, children, indent)
	}
}

func firstOf(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

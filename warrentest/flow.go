package warrentest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/warrenq/warren"
	"github.com/warrenq/warren/jobstore"
)

// flowLog keeps what flows were published, as they were written.
type flowLog struct {
	warren.ClientStore

	mu    sync.Mutex
	flows []jobstore.NewFlow
}

// InsertFlow implements jobstore.Flows.
func (s *flowLog) InsertFlow(ctx context.Context, f jobstore.NewFlow) (jobstore.StepID, []jobstore.Ref, error) {
	id, refs, err := s.ClientStore.InsertFlow(ctx, f)
	if err == nil {
		s.keep(f)
	}
	return id, refs, err
}

// InsertFlowTx implements jobstore.Flows. A flow that is rolled back afterwards is kept all the same.
func (s *flowLog) InsertFlowTx(ctx context.Context, tx jobstore.Tx, f jobstore.NewFlow) (jobstore.StepID, error) {
	id, err := s.ClientStore.InsertFlowTx(ctx, tx, f)
	if err == nil {
		s.keep(f)
	}
	return id, err
}

func (s *flowLog) keep(f jobstore.NewFlow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flows = append(s.flows, f)
}

func (s *flowLog) all() []jobstore.NewFlow {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.flows)
}

// RequireFlow fails the test unless a flow like this one was published by the Env's client: the same steps in
// the same order with the same jobs, args, options and callbacks. It says what was published instead.
// Jobs whose args are encrypted are never the same.
func RequireFlow(tb testing.TB, e *Env, want warren.Flow) {
	tb.Helper()
	scratch := New(tb, e.registry, Opts{Priorities: e.opts.Priorities, DefaultQueue: e.opts.DefaultQueue, Keys: e.opts.Keys})
	if _, err := scratch.client.PublishFlow(tb.Context(), want); err != nil {
		tb.Fatalf("warrentest: the flow to compare with: %v", err)
		return
	}
	wanted := scratch.flows.all()[0]
	published := e.flows.all()
	for i := range published {
		if sameFlow(&published[i], &wanted) {
			return
		}
	}
	tb.Fatalf("warrentest: no such flow was published: %s; %s", drawFlow(&wanted), drawFlows(published))
}

// RequireBatch fails the test unless a batch of this name was published, by itself or in another flow, and
// returns the jobs in it, those of flows in it left out.
func RequireBatch(tb testing.TB, e *Env, name string) []jobstore.NewJob {
	tb.Helper()
	published := e.flows.all()
	for i := range published {
		for _, s := range published[i].Steps {
			if s.Role == jobstore.RoleBatch && s.Name == name {
				return s.Jobs
			}
		}
	}
	tb.Fatalf("warrentest: no batch %q was published; %s", name, drawFlows(published))
	return nil
}

// RequireNoFlow fails the test when a flow was published.
func RequireNoFlow(tb testing.TB, e *Env) {
	tb.Helper()
	if published := e.flows.all(); len(published) > 0 {
		tb.Fatalf("warrentest: no flow should be published; %s", drawFlows(published))
	}
}

func sameFlow(a, b *jobstore.NewFlow) bool {
	one, other := *a, *b
	one.Outbox, other.Outbox = false, false
	return reflect.DeepEqual(one, other)
}

func drawFlows(list []jobstore.NewFlow) string {
	if len(list) == 0 {
		return "published was none"
	}
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = drawFlow(&list[i])
	}
	return "published were " + strings.Join(texts, "; ")
}

func drawFlow(f *jobstore.NewFlow) string { return drawStep(f, 0) }

// drawStep is a step with what it holds: chain(mail{…} batch "b"(row{…}) on end: report{…}).
func drawStep(f *jobstore.NewFlow, at int) string {
	s := &f.Steps[at]
	var parts []string
	for _, j := range s.Jobs {
		parts = append(parts, j.Kind+string(j.Args))
	}
	var told []string
	for i := range f.Steps {
		switch c := &f.Steps[i]; {
		case i <= at || c.Parent != at:
		case c.Role == jobstore.RoleCallback:
			told = append(told, " on "+c.Name+": "+drawStep(f, i))
		default:
			parts = append(parts, drawStep(f, i))
		}
	}
	inner := strings.Join(parts, " ") + strings.Join(told, "")
	if s.Role == jobstore.RoleJob || s.Role == jobstore.RoleCallback || s.Role == jobstore.RoleDecide {
		return inner
	}
	return fmt.Sprintf("%s %q(%s)", s.Role, s.Name, inner)
}

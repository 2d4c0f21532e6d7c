package worker

import (
	"context"
	"encoding/json"
	"maps"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/warrenq/warren/internal/journal"
	"github.com/warrenq/warren/jobstore"
)

// Scope is what a running attempt may leave behind besides its error. It travels in the
// handler's context.
type Scope struct {
	log     *zap.Logger
	job     *jobstore.Job
	journal *journal.Journal // nil = nobody hears what the attempt says
	by      jobstore.HolderID
	under   underway // what a consumer runs it with; empty elsewhere
	files   *Files   // nil = nobody keeps files

	mu       sync.Mutex
	attempt  *journal.Attempt // since it has said something
	ended    bool
	output   json.RawMessage
	metadata map[string]json.RawMessage
	flow     *jobstore.FlowChange
}

// NewScope makes the scope of one attempt.
func NewScope(job *jobstore.Job, log *zap.Logger) *Scope { return &Scope{log: log, job: job} }

// Heard has a journal take what the attempt says, and files what it attaches, under a lease of by.
func (s *Scope) Heard(in *journal.Journal, files *Files, by jobstore.HolderID) {
	s.journal, s.files, s.by = in, files, by
}

// Attempt is where to say something; nil where nobody hears it, or any more.
func (s *Scope) Attempt() *journal.Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.attempt == nil && s.journal != nil && !s.ended {
		s.attempt = s.journal.Open(s.job, s.by)
	}
	return s.attempt
}

// Last makes metadata of the last of its progress.
func (s *Scope) Last(finished bool) {
	s.mu.Lock()
	attempt := s.attempt
	s.mu.Unlock()
	if attempt == nil {
		return
	}
	if progress := attempt.Note(finished); progress != nil {
		s.SetMetadata(map[string]json.RawMessage{jobstore.ProgressKey: progress})
	}
}

// End ends what the attempt says.
func (s *Scope) End(finished bool) {
	s.Last(finished)
	s.mu.Lock()
	attempt := s.attempt
	s.ended = true
	s.mu.Unlock()
	if attempt != nil {
		attempt.End()
	}
}

type scopeKey struct{}

// WithScope returns a context that carries s.
func WithScope(ctx context.Context, s *Scope) context.Context {
	return context.WithValue(ctx, scopeKey{}, s)
}

// ScopeOf returns the scope of the attempt that ctx belongs to, or nil outside of one.
func ScopeOf(ctx context.Context) *Scope {
	s, _ := ctx.Value(scopeKey{}).(*Scope)
	return s
}

// Logger names the job in every line, and writes to the job's own log as well. It is built when asked for,
// because most handlers never log.
func (s *Scope) Logger() *zap.Logger {
	log := s.log.With(zap.Int64("job_id", int64(s.job.ID)), zap.String("kind", s.job.Kind), zap.Int("attempt", s.job.Attempts))
	attempt := s.Attempt()
	if attempt == nil {
		return log
	}
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, attempt.Core()) }))
}

// SetOutput keeps v as the job's output.
func (s *Scope) SetOutput(v json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.output = v
}

// SetMetadata keeps the members of v, to be merged over the job's metadata. Of one that was set
// before, the later value counts.
func (s *Scope) SetMetadata(v map[string]json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.metadata == nil {
		s.metadata = make(map[string]json.RawMessage, len(v))
	}
	maps.Copy(s.metadata, v)
}

// Job is the row as it was claimed.
func (s *Scope) Job() *jobstore.Job { return s.job }

// ChangeFlow changes what the job adds to its flow if it finishes.
func (s *Scope) ChangeFlow(by func(*jobstore.FlowChange) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flow == nil {
		s.flow = new(jobstore.FlowChange)
	}
	return by(s.flow)
}

func (s *Scope) flowChange() *jobstore.FlowChange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flow
}

// Kept returns what was set; metadata is nil or a JSON object.
func (s *Scope) Kept() (output, metadata json.RawMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.metadata) == 0 {
		return s.output, nil
	}
	metadata, err := json.Marshal(s.metadata)
	if err != nil {
		s.log.Error("what a job noted is not valid JSON; it is left out", zap.Int64("job_id", int64(s.job.ID)), zap.Error(err))
		return s.output, nil
	}
	return s.output, metadata
}

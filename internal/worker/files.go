package worker

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/warrenq/warren/jobstore"
)

// maxFiles is how many files a job may have.
const maxFiles = 100

// Files is where the files of attempts go.
type Files struct {
	List    jobstore.Filer
	Content jobstore.FileStore
	MaxSize int64 // bytes of one
}

// ErrNoFiles means that nobody keeps files here.
var ErrNoFiles = errors.New("there is nobody here who keeps files")

// Attach stores a file of the job. The row comes first and the name last: what a process that dies leaves in
// between belongs to nobody, and is swept.
func (s *Scope) Attach(ctx context.Context, name, mediaType string, content io.Reader) error {
	f := s.files
	if f == nil {
		return ErrNoFiles
	}
	id, err := f.List.BeginFile(ctx, s.by, s.job.LeaseNo, jobstore.File{Job: s.job.ID, Name: name, Type: mediaType}, maxFiles)
	if err != nil {
		return err
	}
	limited := &io.LimitedReader{R: content, N: f.MaxSize + 1}
	size, err := f.Content.WriteFile(ctx, id, limited)
	if err != nil {
		return err
	}
	if size > f.MaxSize {
		return fmt.Errorf("%w: it has more than the %d bytes that a file may have", jobstore.ErrRefused, f.MaxSize)
	}
	return f.List.EndFile(ctx, s.by, id, size)
}

// Sweep removes at most limit files that belong to nobody, and returns how many: first their content, so that none
// is ever without a row that knows of it.
func (f *Files) Sweep(ctx context.Context, limit int) (int, error) {
	lost, err := f.List.LostFiles(ctx, limit)
	if err != nil || len(lost) == 0 {
		return 0, err
	}
	if err := f.Content.RemoveFiles(ctx, lost); err != nil {
		return 0, err
	}
	return len(lost), f.List.ForgetFiles(ctx, lost)
}

package warren

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/warrenq/warren/internal/worker"
	"github.com/warrenq/warren/jobstore"
)

// Attach keeps content as a file of the job that ctx belongs to, for warren jobs file and GET
// /api/v1/jobs/{id}/files/{name}. name is a plain name of at most 255 bytes; mediaType is such as text/csv, "" for what
// the ending of the name says. A file of the job with this name is replaced once the new one is whole. A job may
// have 100 files of ConsumerConfig.MaxFile bytes. Files go with their job.
func Attach(ctx context.Context, name, mediaType string, content io.Reader) error {
	s := worker.ScopeOf(ctx)
	if s == nil {
		return errNoAttempt
	}
	if err := checkFileName(name); err != nil {
		return err
	}
	mediaType = cmp.Or(mediaType, mime.TypeByExtension(filepath.Ext(name)), "application/octet-stream")
	if media, _, err := mime.ParseMediaType(mediaType); err != nil || !strings.Contains(media, "/") || len(mediaType) > maxLabel {
		return fmt.Errorf("file %q: %.80q is no media type; write one such as text/csv", name, mediaType)
	}
	if err := s.Attach(ctx, name, mediaType, content); err != nil {
		return fmt.Errorf("file %q: %w", name, err)
	}
	return nil
}

func checkFileName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name of a file; use one such as report.csv", name)
	case len(name) > maxLabel:
		return fmt.Errorf("the name %.40q… of a file has %d bytes; at most %d are allowed", name, len(name), maxLabel)
	case !utf8.ValidString(name) || strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("the name %q of a file is not plain: leave out slashes, control characters and what is not UTF-8", name)
	}
	return nil
}

// FileDir keeps the content of files in a directory, for ConsumerConfig.Files. All consumers of an installation, and
// the programs that read files, need to reach the same one; two installations need two.
func FileDir(path string) jobstore.FileStore { return fileDir(path) }

type fileDir string

// file is where a file is: a directory does not get too large.
func (d fileDir) file(id jobstore.FileID) string {
	return filepath.Join(string(d), strconv.FormatInt(int64(id)/1000, 10), strconv.FormatInt(int64(id), 10))
}

// WriteFile implements jobstore.FileStore.
func (d fileDir) WriteFile(ctx context.Context, id jobstore.FileID, content io.Reader) (size int64, err error) {
	name := d.file(id)
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640) //nolint:gosec // its name is a number
	if err != nil {
		return 0, err
	}
	size, err = io.Copy(f, reader{ctx, content})
	return size, errors.Join(err, f.Sync(), f.Close())
}

// reader ends with its context.
type reader struct {
	ctx context.Context //nolint:containedctx // an io.Reader has no other way to get one
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}

// OpenFile implements jobstore.FileStore.
func (d fileDir) OpenFile(_ context.Context, id jobstore.FileID) (io.ReadCloser, error) {
	f, err := os.Open(d.file(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", jobstore.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// RemoveFiles implements jobstore.FileStore.
func (d fileDir) RemoveFiles(_ context.Context, ids []jobstore.FileID) error {
	for _, id := range ids {
		if err := os.Remove(d.file(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

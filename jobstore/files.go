package jobstore

import (
	"context"
	"io"
	"time"
)

// FileID names a file of a job, for ever: a file that replaces another has its own.
type FileID int64

// File is a file that a job has left behind.
type File struct {
	ID   FileID    `json:"id"`
	Job  ID        `json:"job_id"`
	Name string    `json:"name"` // unique in its job
	Type string    `json:"type"` // a media type, as its handler named it
	Size int64     `json:"size"` // bytes
	At   time.Time `json:"at"`
}

// Filer keeps the lists of files. Their content is somewhere else: in a FileStore.
type Filer interface {
	// BeginFile gives a number to a file that is about to be written, under a lease. ErrRefused when the lease is
	// over, or when the job has most files already.
	BeginFile(ctx context.Context, by HolderID, leaseNo int64, f File, most int) (FileID, error)
	// EndFile makes a file that was written, with its size, one of its job, instead of the one with the same
	// name. It has the fence of an outcome: ErrRefused when the lease is over.
	EndFile(ctx context.Context, by HolderID, id FileID, size int64) error
	// Files lists the files of a job by name.
	Files(ctx context.Context, id ID) ([]File, error)
	// LostFiles lists at most limit files that belong to nobody: their jobs are gone, others have replaced them, or
	// their attempts have ended before they were whole.
	LostFiles(ctx context.Context, limit int) ([]FileID, error)
	// ForgetFiles takes lost files off the lists, once their content is gone.
	ForgetFiles(ctx context.Context, ids []FileID) error
}

// FileStore keeps the content of files. A job database is one; a directory or a service of yours may be another. All
// programs of an installation need the same.
type FileStore interface {
	// WriteFile stores content to its end and returns how many bytes that were. A file that is there with this
	// number was left by a call that did not end, and is replaced.
	WriteFile(ctx context.Context, id FileID, content io.Reader) (size int64, err error)
	// OpenFile returns the content. ErrNotFound when there is none.
	OpenFile(ctx context.Context, id FileID) (io.ReadCloser, error)
	// RemoveFiles removes content. What is not there is no error.
	RemoveFiles(ctx context.Context, ids []FileID) error
}

// FilePart is how many bytes of a file the job databases write and read at a time.
const FilePart = 256 << 10

// FileParts reads a file part by part, as read gives them; nil bytes are the end.
func FileParts(ctx context.Context, read func(ctx context.Context, no int) ([]byte, error)) io.ReadCloser {
	return &parts{ctx: ctx, read: read}
}

type parts struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to get one
	read func(ctx context.Context, no int) ([]byte, error)
	no   int
	rest []byte
}

// Read implements io.Reader.
func (p *parts) Read(into []byte) (int, error) {
	if len(p.rest) == 0 {
		part, err := p.read(p.ctx, p.no)
		if err != nil {
			return 0, err
		}
		if len(part) == 0 {
			return 0, io.EOF
		}
		p.no++
		p.rest = part
	}
	n := copy(into, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (p *parts) Close() error { return nil }

// WriteParts writes content part by part.
func WriteParts(content io.Reader, write func(no int, part []byte) error) (size int64, err error) {
	part := make([]byte, FilePart)
	for no := 0; ; no++ {
		n, err := io.ReadFull(content, part)
		if n > 0 {
			if err := write(no, part[:n]); err != nil {
				return size, err
			}
			size += int64(n)
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return size, nil
		default:
			return size, err
		}
	}
}

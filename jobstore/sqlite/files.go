package sqlite

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/warrenq/warren/jobstore"
)

const countFilesSQL = `-- warren: count files
SELECT count(*) FROM job_files WHERE job_id = ?1 AND size IS NOT NULL AND gone = 0 AND name <> ?2`

const beginFileSQL = `-- warren: begin a file
INSERT INTO job_files (job_id, lease_no, name, type, created_at) VALUES (?1, ?2, ?3, ?4, ?5)`

// BeginFile implements jobstore.Filer.
func (s *Store) BeginFile(ctx context.Context, by jobstore.HolderID, leaseNo int64, f jobstore.File, most int) (jobstore.FileID, error) {
	id, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) {
		held, err := heldBy(ctx, q, f.Job, by, leaseNo)
		if err != nil {
			return 0, err
		}
		n, err := gather(ctx, q, countFilesSQL, scanInt, f.Job, f.Name)
		if err != nil {
			return 0, err
		}
		if !held || n[0] >= int64(most) {
			return 0, fmt.Errorf("%w: its lease is over, or it has %d files already", jobstore.ErrRefused, most)
		}
		return q.insert(ctx, beginFileSQL, f.Job, leaseNo, f.Name, f.Type, stamp(s.now()))
	})
	if err != nil {
		return 0, s.wrap(fmt.Sprintf("begin a file of job %d", f.Job), err)
	}
	return jobstore.FileID(id), nil
}

// heldBy reports whether a job is leased so.
func heldBy(ctx context.Context, q session, id jobstore.ID, by jobstore.HolderID, lease int64) (bool, error) {
	rows, err := leasedOf(ctx, q, []jobstore.ID{id})
	if err != nil {
		return false, err
	}
	l := rows[id]
	return l != nil && l.under(by, lease), nil
}

const fileOfSQL = `-- warren: file of
SELECT job_id, lease_no, name FROM job_files WHERE id = ?1`

const replaceFileSQL = `-- warren: replace a file
UPDATE job_files SET gone = 1 WHERE job_id = ?1 AND name = ?2 AND size IS NOT NULL AND id <> ?3`

const endFileSQL = `-- warren: end a file
UPDATE job_files SET size = ?2 WHERE id = ?1`

// EndFile implements jobstore.Filer.
func (s *Store) EndFile(ctx context.Context, by jobstore.HolderID, id jobstore.FileID, size int64) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (struct{}, error) {
		var job jobstore.ID
		var lease int64
		var name string
		err := q.query(ctx, fileOfSQL, []any{id}, func(r row) error { return r.Scan(&job, &lease, &name) })
		if err != nil {
			return struct{}{}, err
		}
		held, err := heldBy(ctx, q, job, by, lease)
		if err == nil && !held {
			err = fmt.Errorf("%w: its lease is over", jobstore.ErrRefused)
		}
		if err == nil {
			_, err = q.exec(ctx, replaceFileSQL, job, name, id)
		}
		if err == nil {
			_, err = q.exec(ctx, endFileSQL, id, size)
		}
		return struct{}{}, err
	})
	if err != nil {
		return s.wrap("end a file", err)
	}
	return nil
}

const filesSQL = `-- warren: files
SELECT id, job_id, name, type, size, created_at FROM job_files WHERE job_id = ?1 AND size IS NOT NULL AND gone = 0 ORDER BY name`

// Files implements jobstore.Filer.
func (s *Store) Files(ctx context.Context, id jobstore.ID) ([]jobstore.File, error) {
	files, err := reading(ctx, s, func(ctx context.Context, q session) ([]jobstore.File, error) {
		return gather(ctx, q, filesSQL, func(r row) (f jobstore.File, err error) {
			var at string
			err = r.Scan(&f.ID, &f.Job, &f.Name, &f.Type, &f.Size, &at)
			f.At = read(at)
			return f, err
		}, id)
	})
	if err != nil {
		return nil, s.wrap(fmt.Sprintf("list the files of job %d", id), err)
	}
	return files, nil
}

const lostFilesSQL = `-- warren: lost files
SELECT f.id FROM job_files f WHERE (f.gone = 1 OR f.size IS NULL) AND (f.gone = 1 OR NOT EXISTS (
  SELECT 1 FROM jobs j WHERE j.id = f.job_id AND j.lease_no = f.lease_no AND j.state = 'PROCESSING')) ORDER BY f.id LIMIT ?1`

// LostFiles implements jobstore.Filer.
func (s *Store) LostFiles(ctx context.Context, limit int) ([]jobstore.FileID, error) {
	ids, err := reading(ctx, s, func(ctx context.Context, q session) ([]int64, error) {
		return gather(ctx, q, lostFilesSQL, scanInt, limit)
	})
	if err != nil {
		return nil, s.wrap("list lost files", err)
	}
	out := make([]jobstore.FileID, len(ids))
	for i, id := range ids {
		out[i] = jobstore.FileID(id)
	}
	return out, nil
}

const forgetFilesSQL = `-- warren: forget files
DELETE FROM job_files WHERE id IN (SELECT value FROM json_each(?1)) AND (gone = 1 OR size IS NULL)`

// ForgetFiles implements jobstore.Filer.
func (s *Store) ForgetFiles(ctx context.Context, ids []jobstore.FileID) error {
	return s.removing(ctx, "forget files", forgetFilesSQL, ids)
}

func (s *Store) removing(ctx context.Context, doing, text string, ids []jobstore.FileID) error {
	_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) { return q.exec(ctx, text, list(ids)) })
	if err != nil {
		return s.wrap(doing, err)
	}
	return nil
}

const writePartSQL = `-- warren: write a part
INSERT INTO job_file_parts (file_id, no, data) VALUES (?1, ?2, ?3)`

// WriteFile implements jobstore.FileStore, a part in a transaction: other writers come in between.
func (s *Store) WriteFile(ctx context.Context, id jobstore.FileID, content io.Reader) (int64, error) {
	if err := s.RemoveFiles(ctx, []jobstore.FileID{id}); err != nil {
		return 0, err
	}
	size, err := jobstore.WriteParts(content, func(no int, part []byte) error {
		own := slices.Clone(part) // a transaction that nobody waits for any more may still read it
		_, err := writing(ctx, s, func(ctx context.Context, q session) (int64, error) { return q.exec(ctx, writePartSQL, id, no, own) })
		return err
	})
	if err != nil {
		return size, s.wrap("write a file", err)
	}
	return size, nil
}

const readPartSQL = `-- warren: read a part
SELECT data FROM job_file_parts WHERE file_id = ?1 AND no = ?2`

// OpenFile implements jobstore.FileStore. A file without bytes has no parts.
func (s *Store) OpenFile(ctx context.Context, id jobstore.FileID) (io.ReadCloser, error) {
	return jobstore.FileParts(ctx, func(ctx context.Context, no int) ([]byte, error) {
		got, err := reading(ctx, s, func(ctx context.Context, q session) ([][]byte, error) {
			return gather(ctx, q, readPartSQL, func(r row) (data []byte, err error) {
				err = r.Scan(&data)
				return data, err
			}, id, no)
		})
		if err != nil {
			return nil, s.wrap("read a file", err)
		}
		return slices.Concat(got...), nil
	}), nil
}

const removePartsSQL = `-- warren: remove parts
DELETE FROM job_file_parts WHERE file_id IN (SELECT value FROM json_each(?1))`

// RemoveFiles implements jobstore.FileStore.
func (s *Store) RemoveFiles(ctx context.Context, ids []jobstore.FileID) error {
	return s.removing(ctx, "remove files", removePartsSQL, ids)
}

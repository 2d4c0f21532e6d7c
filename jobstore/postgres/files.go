package postgres

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/warrenq/warren/jobstore"
)

// beginFileSQL has the fence of an outcome.
const beginFileSQL = `-- warren: begin a file
INSERT INTO @schema@.job_files (job_id, lease_no, name, type)
SELECT j.id, j.lease_no, $4, $5 FROM @schema@.jobs_live j
WHERE j.id = $2 AND j.lease_no = $3 AND coalesce(j.holder, 0) = $1::bigint AND j.state || '' = 'PROCESSING'
  AND (SELECT count(*) FROM @schema@.job_files f WHERE f.job_id = $2 AND f.size IS NOT NULL AND NOT f.gone AND f.name <> $4) < $6::int
RETURNING id`

// BeginFile implements jobstore.Filer.
func (s *Store) BeginFile(ctx context.Context, by jobstore.HolderID, leaseNo int64, f jobstore.File, most int) (jobstore.FileID, error) {
	ids, err := gather(ctx, s, beginFileSQL, scanFileID, by, f.Job, leaseNo, f.Name, f.Type, clamp(most))
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%w: its lease is over, or it has %d files already", jobstore.ErrRefused, most)
	}
	if err != nil {
		return 0, wrap(fmt.Sprintf("begin a file of job %d", f.Job), err)
	}
	return ids[0], nil
}

// endFileSQL takes the place of a file with the same name before it is there itself.
const endFileSQL = `-- warren: end a file
WITH mine AS MATERIALIZED (
  SELECT f.id, f.job_id, f.name FROM @schema@.job_files f
  WHERE f.id = $2 AND EXISTS (SELECT FROM @schema@.jobs_live j
    WHERE j.id = f.job_id AND j.lease_no = f.lease_no AND coalesce(j.holder, 0) = $1::bigint AND j.state || '' = 'PROCESSING')
),
old AS (
  UPDATE @schema@.job_files f SET gone = true FROM mine
  WHERE f.job_id = mine.job_id AND f.name = mine.name AND f.size IS NOT NULL AND NOT f.gone AND f.id <> mine.id
)
UPDATE @schema@.job_files f SET size = $3 FROM mine WHERE f.id = mine.id RETURNING f.id`

// EndFile implements jobstore.Filer.
func (s *Store) EndFile(ctx context.Context, by jobstore.HolderID, id jobstore.FileID, size int64) error {
	ids, err := gather(ctx, s, endFileSQL, scanFileID, by, id, size)
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("%w: its lease is over", jobstore.ErrRefused)
	}
	if err != nil {
		return wrap("end a file", err)
	}
	return nil
}

const filesSQL = `-- warren: files
SELECT id, job_id, name, type, size, created_at FROM @schema@.job_files WHERE job_id = $1 AND size IS NOT NULL AND NOT gone ORDER BY name COLLATE "C", id DESC`

// Files implements jobstore.Filer.
func (s *Store) Files(ctx context.Context, id jobstore.ID) ([]jobstore.File, error) {
	files, err := gather(ctx, s, filesSQL, func(r pgx.Rows) (f jobstore.File, err error) {
		err = r.Scan(&f.ID, &f.Job, &f.Name, &f.Type, &f.Size, &f.At)
		return f, err
	}, id)
	if err != nil {
		return nil, wrap(fmt.Sprintf("list the files of job %d", id), err)
	}
	return files, nil
}

const lostFilesSQL = `-- warren: lost files
(SELECT f.id FROM @schema@.job_files f WHERE f.gone ORDER BY f.id LIMIT $1)
UNION ALL
(SELECT f.id FROM @schema@.job_files f WHERE f.size IS NULL AND NOT f.gone AND NOT EXISTS (
   SELECT FROM @schema@.jobs_live j WHERE j.id = f.job_id AND j.lease_no = f.lease_no AND j.state || '' = 'PROCESSING')
 ORDER BY f.id LIMIT $1) LIMIT $1`

// LostFiles implements jobstore.Filer.
func (s *Store) LostFiles(ctx context.Context, limit int) ([]jobstore.FileID, error) {
	ids, err := gather(ctx, s, lostFilesSQL, scanFileID, limit)
	if err != nil {
		return nil, wrap("list lost files", err)
	}
	return ids, nil
}

const forgetFilesSQL = `-- warren: forget files
DELETE FROM @schema@.job_files f USING unnest($1::bigint[]) AS w(id) WHERE f.id = w.id AND (f.gone OR f.size IS NULL)`

// ForgetFiles implements jobstore.Filer.
func (s *Store) ForgetFiles(ctx context.Context, ids []jobstore.FileID) error {
	if err := s.exec(ctx, forgetFilesSQL, ids); err != nil {
		return wrap("forget files", err)
	}
	return nil
}

const writePartSQL = `-- warren: write a part
INSERT INTO @schema@.job_file_parts (file_id, no, data) VALUES ($1, $2, $3)`

// WriteFile implements jobstore.FileStore, a part in a statement: nothing long holds up a vacuum.
func (s *Store) WriteFile(ctx context.Context, id jobstore.FileID, content io.Reader) (int64, error) {
	if err := s.RemoveFiles(ctx, []jobstore.FileID{id}); err != nil {
		return 0, err
	}
	size, err := jobstore.WriteParts(content, func(no int, part []byte) error { return s.exec(ctx, writePartSQL, id, no, part) })
	if err != nil {
		return size, wrap("write a file", err)
	}
	return size, nil
}

const readPartSQL = `-- warren: read a part
SELECT data FROM @schema@.job_file_parts WHERE file_id = $1 AND no = $2`

// OpenFile implements jobstore.FileStore. A file without bytes has no parts.
func (s *Store) OpenFile(ctx context.Context, id jobstore.FileID) (io.ReadCloser, error) {
	return jobstore.FileParts(ctx, func(ctx context.Context, no int) ([]byte, error) {
		got, err := gather(ctx, s, readPartSQL, func(r pgx.Rows) (data []byte, err error) {
			err = r.Scan(&data)
			return data, err
		}, id, no)
		if err != nil {
			return nil, wrap("read a file", err)
		}
		return slices.Concat(got...), nil
	}), nil
}

const removePartsSQL = `-- warren: remove parts
DELETE FROM @schema@.job_file_parts p USING unnest($1::bigint[]) AS w(id) WHERE p.file_id = w.id`

// RemoveFiles implements jobstore.FileStore.
func (s *Store) RemoveFiles(ctx context.Context, ids []jobstore.FileID) error {
	if err := s.exec(ctx, removePartsSQL, ids); err != nil {
		return wrap("remove files", err)
	}
	return nil
}

func scanFileID(r pgx.Rows) (id jobstore.FileID, err error) {
	err = r.Scan(&id)
	return id, err
}

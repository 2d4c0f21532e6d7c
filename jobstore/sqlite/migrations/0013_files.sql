-- Files that jobs leave behind.

-- The lists. A row comes before its content and goes after it, so that no content is without a row. size is NULL
-- while the content is written; gone means that nobody has the file any more.
CREATE TABLE job_files (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,      -- a number is never used again
    job_id     INTEGER NOT NULL,
    lease_no   INTEGER NOT NULL,                       -- of the attempt that writes it
    name       TEXT    NOT NULL CHECK (name <> ''),
    type       TEXT    NOT NULL,
    size       INTEGER,
    gone       INTEGER NOT NULL DEFAULT 0,
    created_at TEXT    NOT NULL
) STRICT;
CREATE INDEX job_files_job ON job_files (job_id, name);
CREATE INDEX job_files_lost ON job_files (id) WHERE gone = 1 OR size IS NULL;

-- Their content, unless it is kept somewhere else.
CREATE TABLE job_file_parts (
    file_id INTEGER NOT NULL,
    no      INTEGER NOT NULL,                          -- from 0
    data    BLOB    NOT NULL,
    PRIMARY KEY (file_id, no)
) STRICT;

CREATE TRIGGER jobs_removed_files AFTER DELETE ON jobs
BEGIN
    UPDATE job_files SET gone = 1 WHERE job_id = OLD.id;
END;

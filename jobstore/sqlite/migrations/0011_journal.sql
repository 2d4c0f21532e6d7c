-- What attempts say while they run. A job that says nothing comes by none of these tables.

-- How far a job that runs has come: one row for each that was told at least once. What an attempt says
-- last comes with its outcome, into the metadata; rows of jobs that have ended are swept.
CREATE TABLE job_progress (
    job_id   INTEGER PRIMARY KEY,
    lease_no INTEGER NOT NULL,
    told_at  TEXT    NOT NULL,
    progress TEXT    NOT NULL CHECK (json_valid(progress))
) STRICT;

-- The logs. Lines of one job come in the order of their key.
CREATE TABLE job_logs (
    job_id   INTEGER NOT NULL,
    lease_no INTEGER NOT NULL,
    no       INTEGER NOT NULL,                         -- the place in this attempt, from 1
    at       TEXT    NOT NULL,
    attempt  INTEGER NOT NULL,
    level    TEXT    NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
    text     TEXT    NOT NULL,
    fields   TEXT    CHECK (fields IS NULL OR json_valid(fields)),
    PRIMARY KEY (job_id, lease_no, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_logs_at ON job_logs (at);

-- What is kept about a job goes with it, whoever removes it.
CREATE TRIGGER jobs_removed AFTER DELETE ON jobs
BEGIN
    DELETE FROM job_logs WHERE job_id = OLD.id;
    DELETE FROM job_progress WHERE job_id = OLD.id;
END;

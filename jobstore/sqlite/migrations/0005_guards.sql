-- What is asked before a handler is called: rate limits, locks, breakers. A job whose kind has none
-- of them comes by none of these tables. Their times are microseconds since 1970, because the times of
-- rate limits are closer than a millisecond.

-- One row a bucket. Both columns are the time at which the bucket is full again (GCRA): started counts
-- the jobs that began, planned also those that were told when to come back.
CREATE TABLE job_limits (
    key     TEXT    PRIMARY KEY,
    planned INTEGER NOT NULL,
    started INTEGER NOT NULL
) STRICT;

-- Who has a place, and who waits for one. A place is had for as long as the job is PROCESSING under
-- this lease: whatever ends the lease ends the lock.
CREATE TABLE job_locks (
    key      TEXT    NOT NULL,
    job_id   INTEGER NOT NULL,
    lease_no INTEGER NOT NULL,
    held     INTEGER NOT NULL,
    PRIMARY KEY (key, job_id)
) STRICT;
CREATE INDEX job_locks_held ON job_locks (key) WHERE held = 1;

-- Errors of something that many jobs need. open_until is NULL while jobs may run; once it has passed, one
-- job at a time tries, for as long as it has its lease.
CREATE TABLE job_breakers (
    name        TEXT    PRIMARY KEY,
    failures    INTEGER NOT NULL DEFAULT 0,
    since       INTEGER NOT NULL,
    open_until  INTEGER,
    opened      INTEGER NOT NULL DEFAULT 0,
    probe_id    INTEGER,
    probe_lease INTEGER,
    error       TEXT
) STRICT;

-- Attempts that somebody wants ended. Consumers look with their heartbeat.
CREATE TABLE job_cancels (
    job_id   INTEGER PRIMARY KEY,
    lease_no INTEGER NOT NULL,                         -- the attempt that it is about
    asked_at TEXT    NOT NULL
) STRICT;

-- What happened to jobs besides plain success, and who ordered it. Rows are only added, and removed when they are old.
CREATE TABLE job_events (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id      INTEGER NOT NULL,                      -- 0 = about more than one: see subject
    at          TEXT    NOT NULL,
    event       TEXT    NOT NULL,
    subject     TEXT,                                  -- of job 0: 'kind mail', 'queue media', 'group g' or 'all '
    attempt     INTEGER,
    by_whom     TEXT    NOT NULL DEFAULT '',           -- a person, or a program that speaks for people
    host        TEXT,                                  -- where the attempt ran, and what ran it
    build       TEXT,
    duration_ms INTEGER,
    note        TEXT    NOT NULL DEFAULT '',           -- why. What failed is in jobs.errors
    change_id   INTEGER,                               -- the mass change that it was part of; job_change_rows has what the job was
    was         TEXT                                   -- of an edit that was none: the values that it replaced
) STRICT;
CREATE INDEX job_events_job ON job_events (job_id, id);

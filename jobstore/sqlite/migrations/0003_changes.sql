-- Mass changes: what was asked for, how far it has come, and what each job was before.
CREATE TABLE job_changes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    verb       TEXT    NOT NULL CHECK (verb IN ('retry', 'cancel', 'delete', 'edit')),
    spec       TEXT    NOT NULL CHECK (json_valid(spec)),
    by_whom    TEXT    NOT NULL DEFAULT '',
    state      TEXT    NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'undone')),
    through    INTEGER NOT NULL DEFAULT 0,             -- jobs up to this number have been dealt with
    changed    INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,
    undone     INTEGER NOT NULL DEFAULT 0,
    note       TEXT    NOT NULL DEFAULT '',
    started_at TEXT    NOT NULL,
    ended_at   TEXT
) STRICT;
CREATE INDEX job_changes_started ON job_changes (started_at);

-- Written in the transaction of the change itself. lease_no tells whether a job has started since.
CREATE TABLE job_change_rows (
    change_id    INTEGER NOT NULL,
    job_id       INTEGER NOT NULL,
    lease_no     INTEGER NOT NULL,
    state        TEXT    NOT NULL,
    available_at TEXT    NOT NULL,
    finished_at  TEXT,
    duration_ms  INTEGER,
    attempts     INTEGER NOT NULL,
    crashes      INTEGER NOT NULL,
    was          TEXT CHECK (was IS NULL OR json_valid(was)), -- of an edit: the values that it replaced
    undone       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (change_id, job_id)
) STRICT, WITHOUT ROWID;

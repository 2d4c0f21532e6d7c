-- Jobs at set times. A schedule has one row that waits for its next tick, like any delayed job; when
-- look_at has passed, the sweep plants the row of the tick after that.
CREATE TABLE job_schedules (
    name        TEXT    PRIMARY KEY CHECK (name <> '' AND length(CAST(name AS BLOB)) <= 128),
    version     INTEGER NOT NULL DEFAULT 1,            -- grows with every change: two leaders cannot both make one
    definition  TEXT    NOT NULL CHECK (json_valid(definition)), -- when, and which job
    declared    TEXT    NOT NULL DEFAULT '',           -- digest of what code or configuration said last; '' = nothing
    paused      INTEGER NOT NULL DEFAULT 0,
    tick        TEXT,                                  -- of the row that waits
    job_id      INTEGER,                               -- the row that waits
    look_at     TEXT,                                  -- when the sweep has to do something; NULL = not by itself
    missed_at   TEXT,                                  -- when ticks were last found that did not run in time
    created_at  TEXT    NOT NULL,
    changed_at  TEXT    NOT NULL,
    declared_at TEXT
) STRICT;
CREATE INDEX job_schedules_look ON job_schedules (look_at) WHERE look_at IS NOT NULL;

-- The runs of schedules. Its primary key is what keeps a tick from a second row, whoever plants it.
CREATE TABLE job_ticks (
    schedule TEXT    NOT NULL,
    tick     TEXT    NOT NULL,
    run      INTEGER NOT NULL DEFAULT 0,               -- 0; the number of the job for one that somebody asked for
    job_id   INTEGER NOT NULL,
    PRIMARY KEY (schedule, tick, run)
) STRICT, WITHOUT ROWID;

-- The tables. They need SQLite 3.38, and nothing newer, so that the sqlite3 of any system can look
-- at them. Everything but the public table and its keys begins with warren_: an application may
-- keep tables of its own in the same file.
--
-- Times are UTC texts of one width, 2026-11-21T23:38:01.123Z, so that comparing texts compares
-- times. By hand: strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 hour'). Durations are milliseconds.
-- 9999-12-31T23:59:59.999Z is for ever.

CREATE TABLE jobs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,   -- a number is never used again
    lease_no      INTEGER NOT NULL DEFAULT 0,          -- grows with every claim; fences outcomes
    outcome_lease INTEGER NOT NULL DEFAULT 0,          -- the lease whose outcome was recorded last
    holder        INTEGER,                             -- warren_consumers.id while PROCESSING, else NULL
    claim_token   INTEGER,                             -- names the claim, for repeating one whose reply was lost
    "coalesce"    INTEGER,
    duration_ms   INTEGER,
    created_at    TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    available_at  TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    announce_at   TEXT,                                -- the outbox: announce when this has passed
    attempted_at  TEXT,
    finished_at   TEXT,
    attempts      INTEGER NOT NULL DEFAULT 0,
    max_attempts  INTEGER NOT NULL DEFAULT 25,         -- 0 = no limit
    crashes       INTEGER NOT NULL DEFAULT 0,
    pid           INTEGER,
    priority      INTEGER NOT NULL DEFAULT 10,
    group_skip    INTEGER NOT NULL DEFAULT 0,          -- while backing off or waiting, its group may pass it
    state         TEXT    NOT NULL DEFAULT 'READY',
    mode          TEXT    NOT NULL DEFAULT 'normal',
    queue         TEXT    NOT NULL DEFAULT 'default',
    kind          TEXT    NOT NULL,
    serial_group  TEXT,
    identifier    TEXT,
    host          TEXT,
    error         TEXT,
    tags          TEXT,                                -- a JSON list
    timeout       INTEGER,                             -- ms
    every         INTEGER,                             -- ms
    unique_for    INTEGER,                             -- ms; NULL = while not final; negative = for ever
    args          TEXT    NOT NULL DEFAULT '{}',
    metadata      TEXT,
    errors        TEXT,
    output        TEXT,
    memory        TEXT,
    CONSTRAINT jobs_state CHECK (state IN ('READY', 'SCHEDULED', 'PROCESSING', 'WAITING', 'TEMPORARILY_FAILED',
        'BROKER_FAILED', 'BACK_TO_BROKER', 'FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')),
    CONSTRAINT jobs_id CHECK (id >= 1),
    CONSTRAINT jobs_priority CHECK (priority BETWEEN 0 AND 999),
    CONSTRAINT jobs_counters CHECK (lease_no >= 0 AND attempts >= 0 AND max_attempts >= 0 AND crashes >= 0),
    CONSTRAINT jobs_holder CHECK ((state = 'PROCESSING') = (holder IS NOT NULL)),
    -- A CHECK that comes to NULL passes, hence IS NOT NULL.
    CONSTRAINT jobs_mode CHECK (mode = 'normal' OR (identifier IS NOT NULL
        AND (mode = 'unique' OR (mode = 'recurring' AND every IS NOT NULL AND every > 0)))),
    CONSTRAINT jobs_coalesce CHECK ("coalesce" IS NULL OR serial_group IS NOT NULL),
    CONSTRAINT jobs_names CHECK (kind <> '' AND length(kind) <= 255 AND queue <> '' AND length(queue) <= 128
        AND serial_group <> '' AND length(serial_group) <= 255 AND identifier <> '' AND length(identifier) <= 255),
    CONSTRAINT jobs_json CHECK (json_valid(args) AND (metadata IS NULL OR json_valid(metadata)) AND (output IS NULL OR json_valid(output))
        AND (errors IS NULL OR json_valid(errors)) AND (memory IS NULL OR json_valid(memory)) AND (tags IS NULL OR json_valid(tags))),
    -- What is wrong with a time is in the name, because SQLite's complaint is the name.
    CONSTRAINT "times are written like 2026-11-21T23:38:01.123Z" CHECK (
        created_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
        AND available_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
        AND announce_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
        AND attempted_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'
        AND finished_at GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9][0-9][0-9]Z'),
    -- The configured limit is checked when a job is published; this one only keeps the table usable.
    CONSTRAINT jobs_sizes CHECK (length(args) <= 67108864 AND length(CAST(error AS BLOB)) <= 8192)
) STRICT;

-- Each index earns its writes. A plain job is in one when inserted (ready), in one when claimed
-- (holder), and in one when it has ended (ended): the history, which only grows, is in no index
-- that a claim reads.
CREATE INDEX jobs_ready ON jobs (queue, priority, id) WHERE state = 'READY' AND serial_group IS NULL;
CREATE INDEX jobs_due ON jobs (available_at)
    WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER');
CREATE INDEX jobs_holder ON jobs (holder) WHERE holder IS NOT NULL;
CREATE INDEX jobs_announce ON jobs (announce_at) WHERE announce_at IS NOT NULL;
CREATE INDEX jobs_group ON jobs (serial_group, priority, id) WHERE serial_group IS NOT NULL
    AND state IN ('READY', 'SCHEDULED', 'PROCESSING', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER');
CREATE INDEX jobs_identifier ON jobs (identifier) WHERE identifier IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (state, finished_at) WHERE finished_at IS NOT NULL;

-- This index is what excludes a second member of a serial group, whoever writes.
CREATE UNIQUE INDEX jobs_running ON jobs (serial_group) WHERE state = 'PROCESSING' AND serial_group IS NOT NULL;

-- Who holds (kind, identifier): a unique job, or the one job of a recurring series. job_id 0 stands
-- for a series between the job that has ended and its successor, inside one statement.
CREATE TABLE job_keys (
    kind       TEXT    NOT NULL,
    identifier TEXT    NOT NULL,
    job_id     INTEGER NOT NULL,
    until      TEXT,                                   -- NULL = until the job has ended
    PRIMARY KEY (kind, identifier)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_keys_until ON job_keys (until) WHERE until IS NOT NULL;

-- What was published under a key, so that a request that comes again publishes nothing twice. A
-- row is written in the transaction of its jobs, and forgotten after a day by requests that follow.
CREATE TABLE job_requests (
    key        TEXT PRIMARY KEY CHECK (length(CAST(key AS BLOB)) BETWEEN 1 AND 255),
    digest     TEXT NOT NULL,                          -- of what was asked for
    answer     TEXT NOT NULL CHECK (json_valid(answer)), -- what it came to
    created_at TEXT NOT NULL
) STRICT;
CREATE INDEX job_requests_created ON job_requests (created_at);

-- One row for each registration, renewed instead of one row for each running job. Lists are JSON.
CREATE TABLE warren_consumers (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    host         TEXT    NOT NULL,
    pid          INTEGER NOT NULL,
    version      TEXT    NOT NULL DEFAULT '',
    kinds        TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(kinds)),
    queues       TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(queues)),
    priorities   TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(priorities)),
    slots        INTEGER NOT NULL DEFAULT 0,
    restart      INTEGER NOT NULL DEFAULT 0,
    started_at   TEXT    NOT NULL,
    heartbeat_at TEXT    NOT NULL,
    expires_at   TEXT    NOT NULL
) STRICT;

CREATE TABLE warren_leaders (
    name       TEXT    PRIMARY KEY,
    holder     TEXT,                                   -- NULL = resigned
    epoch      INTEGER NOT NULL,
    expires_at TEXT    NOT NULL
) STRICT;

-- The configuration of the programs, for people and for other languages. One row.
CREATE TABLE warren_settings (
    one           INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    priorities    TEXT    NOT NULL DEFAULT '[10,20,30,40,50]',
    default_queue TEXT    NOT NULL DEFAULT 'default',
    max_args      INTEGER NOT NULL DEFAULT 262144      -- bytes
) STRICT;
INSERT INTO warren_settings DEFAULT VALUES;

CREATE TABLE warren_kinds (
    kind         TEXT    PRIMARY KEY,
    queue        TEXT,
    priority     INTEGER,
    max_attempts INTEGER NOT NULL DEFAULT 25,
    timeout      INTEGER,                              -- ms
    group_skip   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- A row here keeps a queue's jobs from being claimed.
CREATE TABLE warren_paused_queues (
    queue     TEXT PRIMARY KEY,
    until     TEXT NOT NULL DEFAULT '9999-12-31T23:59:59.999Z', -- the pause is over by itself then
    paused_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
) STRICT;

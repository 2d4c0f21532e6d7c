-- The tables. @schema@ is replaced by the quoted name of the schema.
--
-- warren.jobs is the public table. It is partitioned by whether a job may still run: the
-- history, which only grows, never slows the part that is claimed from, and vacuuming the live
-- part never reads the history. docs/decisions/0002-partitioning.md has the figures.

CREATE SEQUENCE @schema@.jobs_id_seq AS bigint;

CREATE TABLE @schema@.jobs (
    id            bigint      NOT NULL DEFAULT nextval('@schema@.jobs_id_seq'),
    lease_no      bigint      NOT NULL DEFAULT 0,      -- grows with every claim; fences outcomes
    outcome_lease bigint      NOT NULL DEFAULT 0,      -- the lease whose outcome was recorded last
    holder        bigint,                              -- consumers.id while PROCESSING, else NULL
    claim_token   bigint,                              -- names the claim, for repeating one whose reply was lost
    "coalesce"    bigint,
    duration_ms   bigint,
    created_at    timestamptz NOT NULL DEFAULT now(),
    available_at  timestamptz NOT NULL DEFAULT now(),
    announce_at   timestamptz,                         -- the outbox: announce when this has passed
    attempted_at  timestamptz,
    finished_at   timestamptz,
    attempts      int         NOT NULL DEFAULT 0,
    max_attempts  int         NOT NULL DEFAULT 25,     -- 0 = no limit
    crashes       int         NOT NULL DEFAULT 0,
    pid           int,
    priority      smallint    NOT NULL,
    group_skip    boolean     NOT NULL DEFAULT false,  -- while backing off or waiting, its group may pass it
    state         text        NOT NULL DEFAULT 'READY',
    mode          text        NOT NULL DEFAULT 'normal',
    queue         text        NOT NULL,
    kind          text        NOT NULL,
    serial_group  text,
    identifier    text,
    host          text,
    error         text,
    tags          text[],
    timeout       interval,
    every         interval,
    unique_for    interval,                            -- NULL = while not final; negative = for ever
    args          jsonb       NOT NULL DEFAULT '{}',
    metadata      jsonb,
    errors        jsonb,
    output        jsonb,
    memory        jsonb,
    CONSTRAINT jobs_state CHECK (state IN ('READY', 'SCHEDULED', 'PROCESSING', 'WAITING', 'TEMPORARILY_FAILED',
        'BROKER_FAILED', 'BACK_TO_BROKER', 'FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')),
    CONSTRAINT jobs_id CHECK (id >= 1),
    CONSTRAINT jobs_priority CHECK (priority BETWEEN 0 AND 999),
    CONSTRAINT jobs_counters CHECK (lease_no >= 0 AND attempts >= 0 AND max_attempts >= 0 AND crashes >= 0),
    CONSTRAINT jobs_holder CHECK ((state = 'PROCESSING') = (holder IS NOT NULL)),
    -- A CHECK that comes to NULL passes, hence IS NOT NULL.
    CONSTRAINT jobs_mode CHECK (mode = 'normal' OR (identifier IS NOT NULL
        AND (mode = 'unique' OR (mode = 'recurring' AND every IS NOT NULL AND every > interval '0')))),
    CONSTRAINT jobs_coalesce CHECK ("coalesce" IS NULL OR serial_group IS NOT NULL),
    CONSTRAINT jobs_names CHECK (kind <> '' AND octet_length(kind) <= 255 AND queue <> '' AND octet_length(queue) <= 128
        AND serial_group <> '' AND octet_length(serial_group) <= 255 AND identifier <> '' AND octet_length(identifier) <= 255),
    -- The configured limit is checked when a job is published. This one only keeps the table
    -- usable; it must be cheap, because it runs with every update of the row too.
    CONSTRAINT jobs_sizes CHECK (pg_column_size(args) <= 67108864 AND octet_length(error) <= 8192)
) PARTITION BY LIST (state);

CREATE TABLE @schema@.jobs_live PARTITION OF @schema@.jobs
    FOR VALUES IN ('READY', 'SCHEDULED', 'PROCESSING', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
    WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
          autovacuum_analyze_scale_factor = 0.1, autovacuum_analyze_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
          autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000);

CREATE TABLE @schema@.jobs_history PARTITION OF @schema@.jobs
    FOR VALUES IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
    WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);

-- Each index earns its writes. A plain job is in two when inserted (number, ready), in two when
-- claimed (number, holder), and in two when it has ended (number, ended).
CREATE UNIQUE INDEX jobs_live_id ON @schema@.jobs_live (id);
CREATE INDEX jobs_live_ready ON @schema@.jobs_live (queue, priority, id) WHERE state = 'READY' AND serial_group IS NULL;
CREATE INDEX jobs_live_due ON @schema@.jobs_live (available_at)
    WHERE state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER');
CREATE INDEX jobs_live_holder ON @schema@.jobs_live (holder) WHERE holder IS NOT NULL;
CREATE INDEX jobs_live_announce ON @schema@.jobs_live (announce_at) WHERE announce_at IS NOT NULL;
CREATE INDEX jobs_live_group ON @schema@.jobs_live (serial_group, priority, id) WHERE serial_group IS NOT NULL;
CREATE INDEX jobs_live_identifier ON @schema@.jobs_live (identifier) WHERE identifier IS NOT NULL;

CREATE UNIQUE INDEX jobs_history_id ON @schema@.jobs_history (id);
CREATE INDEX jobs_history_ended ON @schema@.jobs_history (state, finished_at);
CREATE INDEX jobs_history_identifier ON @schema@.jobs_history (identifier) WHERE identifier IS NOT NULL;

-- A row here means that a member of the group is PROCESSING. The claim inserts it and the
-- outcome deletes it, so that its primary key is what excludes a second member: no snapshot,
-- however old, can see past a unique index.
CREATE TABLE @schema@.job_groups (
    serial_group text   PRIMARY KEY,
    running_id   bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Who holds (kind, identifier): a unique job, or the one job of a recurring series.
CREATE TABLE @schema@.job_keys (
    kind       text        NOT NULL,
    identifier text        NOT NULL,
    job_id     bigint      NOT NULL,
    until      timestamptz,                            -- NULL = until the job has ended; 'infinity' = for ever
    PRIMARY KEY (kind, identifier)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_keys_until ON @schema@.job_keys (until) WHERE until IS NOT NULL;

-- One row for each consumer process, renewed instead of one row for each running job.
CREATE TABLE @schema@.consumers (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host         text        NOT NULL,
    pid          int         NOT NULL,
    version      text        NOT NULL DEFAULT '',
    kinds        text[]      NOT NULL DEFAULT '{}',
    queues       text[]      NOT NULL DEFAULT '{}',
    priorities   int[]       NOT NULL DEFAULT '{}',
    slots        int         NOT NULL DEFAULT 0,
    restart      boolean     NOT NULL DEFAULT false,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

CREATE TABLE @schema@.leaders (
    name       text        PRIMARY KEY,
    holder     text,                                   -- NULL = resigned
    epoch      bigint      NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What warren.enqueue() validates against. One row.
CREATE TABLE @schema@.settings (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    priorities    int[]   NOT NULL DEFAULT '{10,20,30,40,50}',
    default_queue text    NOT NULL DEFAULT 'default',
    max_args      int     NOT NULL DEFAULT 262144     -- bytes
);
INSERT INTO @schema@.settings DEFAULT VALUES;

CREATE TABLE @schema@.kinds (
    kind         text    PRIMARY KEY,
    queue        text,
    priority     int,
    max_attempts int     NOT NULL DEFAULT 25,
    timeout      interval,
    group_skip   boolean NOT NULL DEFAULT false
);

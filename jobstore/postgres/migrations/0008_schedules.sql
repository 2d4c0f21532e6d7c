-- Jobs at set times. A schedule has one row that waits for its next tick, like any delayed job; when
-- look_at has passed, the sweep's leader plants the row of the tick after that. Programs older than this
-- migration do not: while one of them leads the sweep, ticks are missed and made up for afterwards.
CREATE TABLE @schema@.job_schedules (
    name        text        PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 128),
    version     bigint      NOT NULL DEFAULT 1,        -- grows with every change: two leaders cannot both make one
    definition  jsonb       NOT NULL,                  -- when, and which job
    declared    text        NOT NULL DEFAULT '',       -- digest of what code or configuration said last; '' = nothing
    paused      boolean     NOT NULL DEFAULT false,
    tick        timestamptz,                           -- of the row that waits
    job_id      bigint,                                -- the row that waits
    look_at     timestamptz,                           -- when the sweep has to do something; NULL = not by itself
    missed_at   timestamptz,                           -- when ticks were last found that did not run in time
    created_at  timestamptz NOT NULL DEFAULT now(),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    declared_at timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_schedules_look ON @schema@.job_schedules (look_at) WHERE look_at IS NOT NULL;

-- The runs of schedules. Its primary key is what keeps a tick from a second row, whoever plants it.
CREATE TABLE @schema@.job_ticks (
    schedule text        NOT NULL,
    tick     timestamptz NOT NULL,
    run      bigint      NOT NULL DEFAULT 0,           -- 0; the number of the job for one that somebody asked for
    job_id   bigint      NOT NULL,
    PRIMARY KEY (schedule, tick, run)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['job_schedules', 'job_ticks'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', s, t, s || '_app');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', s, t, s || '_read');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
            IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
                EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', s, t, s || '_owner');
            END IF;
        END IF;
    END LOOP;
END $$;

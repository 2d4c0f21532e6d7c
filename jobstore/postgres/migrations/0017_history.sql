-- What happened to jobs besides plain success, and who ordered it. Rows are only added, and removed when they are old.
CREATE TABLE @schema@.job_events (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id      bigint      NOT NULL,                  -- 0 = about more than one: see subject
    at          timestamptz NOT NULL DEFAULT now(),
    event       text        NOT NULL,
    subject     text,                                  -- of job 0: 'kind mail', 'queue media', 'group g' or 'all '
    attempt     int,
    by_whom     text        NOT NULL DEFAULT '',       -- a person, or a program that speaks for people
    host        text,                                  -- where the attempt ran, and what ran it
    build       text,
    duration_ms bigint,
    note        text        NOT NULL DEFAULT '',       -- why. What failed is in jobs.errors
    change_id   bigint,                                -- the mass change that it was part of; job_change_rows has what the job was
    was         jsonb                                  -- of an edit that was none: the values that it replaced
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE INDEX job_events_job ON @schema@.job_events (job_id, id);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.job_events TO %I', s, s || '_app');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
        EXECUTE format('GRANT SELECT ON %I.job_events TO %I', s, s || '_read');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
        IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
            EXECUTE format('ALTER TABLE %I.job_events OWNER TO %I', s, s || '_owner');
        END IF;
    END IF;
END $$;

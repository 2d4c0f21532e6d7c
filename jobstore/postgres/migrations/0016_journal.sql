-- What attempts say while they run. A job that says nothing comes by none of these tables.
-- docs/decisions/0019-progress-and-logs.md has the reasons.

-- How far a job that runs has come: one row for each that was told at least once. What an attempt says
-- last comes with its outcome, into the metadata; rows of jobs that have ended are swept.
CREATE TABLE @schema@.job_progress (
    job_id   bigint      PRIMARY KEY,
    lease_no bigint      NOT NULL,
    told_at  timestamptz NOT NULL DEFAULT now(),
    progress jsonb       NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- The logs. Lines of one job come in the order of their key.
CREATE TABLE @schema@.job_logs (
    job_id   bigint      NOT NULL,
    lease_no bigint      NOT NULL,
    no       int         NOT NULL,                     -- the place in this attempt, from 1
    at       timestamptz NOT NULL,
    attempt  int         NOT NULL,
    level    text        NOT NULL CHECK (level IN ('debug', 'info', 'warn', 'error')),
    text     text        NOT NULL,
    fields   jsonb,
    PRIMARY KEY (job_id, lease_no, no)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_logs_at ON @schema@.job_logs (at);

-- job_removed takes along what is kept about jobs that leave the history. A job that runs again leaves it
-- too, and is somewhere else then.
CREATE FUNCTION @schema@.job_removed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    DELETE FROM job_logs l USING gone g WHERE l.job_id = g.id AND NOT EXISTS (SELECT FROM jobs_live j WHERE j.id = g.id);
    RETURN NULL;
END $$;
CREATE TRIGGER job_removed AFTER DELETE ON @schema@.jobs_history REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.job_removed();
CREATE TRIGGER job_removed AFTER DELETE ON @schema@.jobs REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION @schema@.job_removed();

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    app CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app');
    owner CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner'
        AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER'));
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_progress', 'job_logs'] LOOP
        IF app THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', s, name, s || '_app');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', s, name, s || '_read');
        END IF;
        IF owner THEN
            EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', s, name, s || '_owner');
        END IF;
    END LOOP;
    EXECUTE format('REVOKE ALL ON FUNCTION %I.job_removed() FROM PUBLIC', s);
    IF app THEN
        EXECUTE format('GRANT EXECUTE ON FUNCTION %I.job_removed() TO %I', s, s || '_app');
    END IF;
    IF owner THEN
        EXECUTE format('ALTER FUNCTION %I.job_removed() OWNER TO %I', s, s || '_owner');
    END IF;
END $$;

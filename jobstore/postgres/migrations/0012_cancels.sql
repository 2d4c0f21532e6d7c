-- Attempts that somebody wants ended. Consumers look with their heartbeat.
CREATE TABLE @schema@.job_cancels (
    job_id   bigint      PRIMARY KEY,
    lease_no bigint      NOT NULL,                     -- the attempt that it is about
    asked_at timestamptz NOT NULL DEFAULT now()
);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.job_cancels TO %I', s, s || '_app');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
        EXECUTE format('GRANT SELECT ON %I.job_cancels TO %I', s, s || '_read');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
        IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
            EXECUTE format('ALTER TABLE %I.job_cancels OWNER TO %I', s, s || '_owner');
        END IF;
    END IF;
END $$;

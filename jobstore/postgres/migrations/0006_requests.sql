-- What was published under a key, so that a request that comes again publishes nothing twice. A
-- row is written in the transaction of its jobs, and forgotten after a day by requests that follow.
CREATE TABLE @schema@.job_requests (
    key        text        PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 255),
    digest     bytea       NOT NULL,                   -- of what was asked for
    answer     jsonb,                                  -- what it came to; NULL only inside of its transaction
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_requests_created ON @schema@.job_requests (created_at);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.job_requests TO %I', s, s || '_app');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
        EXECUTE format('GRANT SELECT ON %I.job_requests TO %I', s, s || '_read');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
        IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
            EXECUTE format('ALTER TABLE %I.job_requests OWNER TO %I', s, s || '_owner');
        END IF;
    END IF;
END $$;

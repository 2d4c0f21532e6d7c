-- What operators have ordered. A row here keeps a queue's jobs from being claimed; programs older
-- than this migration do not look at it.
CREATE TABLE @schema@.paused_queues (
    queue     text        PRIMARY KEY,
    until     timestamptz NOT NULL DEFAULT 'infinity', -- the pause is over by itself then
    paused_at timestamptz NOT NULL DEFAULT now()
);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.paused_queues TO %I', s, s || '_app');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
        EXECUTE format('GRANT SELECT ON %I.paused_queues TO %I', s, s || '_read');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
        IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
            EXECUTE format('ALTER TABLE %I.paused_queues OWNER TO %I', s, s || '_owner');
        END IF;
    END IF;
END $$;

-- What operators have paused besides queues: a kind, a serial group, or everything. Programs older
-- than this migration do not look at it.
CREATE TABLE @schema@.job_pauses (
    of        text        NOT NULL CHECK (of IN ('all', 'kind', 'group')),
    name      text        NOT NULL DEFAULT '',
    until     timestamptz NOT NULL DEFAULT 'infinity', -- the pause is over by itself then
    paused_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (of, name)
);

-- A consumer that goes on while everything is paused.
ALTER TABLE @schema@.consumers ADD COLUMN force boolean NOT NULL DEFAULT false;

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.job_pauses TO %I', s, s || '_app');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
        EXECUTE format('GRANT SELECT ON %I.job_pauses TO %I', s, s || '_read');
    END IF;
    IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
        IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
            EXECUTE format('ALTER TABLE %I.job_pauses OWNER TO %I', s, s || '_owner');
        END IF;
    END IF;
END $$;

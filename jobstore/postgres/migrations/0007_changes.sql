-- Mass changes: what was asked for, how far it has come, and what each job was before.
CREATE TABLE @schema@.job_changes (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    verb       text        NOT NULL CHECK (verb IN ('retry', 'cancel', 'delete', 'edit')),
    spec       jsonb       NOT NULL,
    by_whom    text        NOT NULL DEFAULT '',
    state      text        NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped', 'undone')),
    through    bigint      NOT NULL DEFAULT 0,         -- jobs up to this number have been dealt with
    changed    bigint      NOT NULL DEFAULT 0,
    refused    bigint      NOT NULL DEFAULT 0,
    undone     bigint      NOT NULL DEFAULT 0,
    note       text        NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
);
CREATE INDEX job_changes_started ON @schema@.job_changes (started_at);

-- Written in the transaction of the change itself. lease_no tells whether a job has started since.
CREATE TABLE @schema@.job_change_rows (
    change_id    bigint      NOT NULL,
    job_id       bigint      NOT NULL,
    lease_no     bigint      NOT NULL,
    state        text        NOT NULL,
    available_at timestamptz NOT NULL,
    finished_at  timestamptz,
    duration_ms  bigint,
    attempts     int         NOT NULL,
    crashes      int         NOT NULL,
    was          jsonb,                                -- of an edit: the values that it replaced
    undone       boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (change_id, job_id)
);

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['job_changes', 'job_change_rows'] LOOP
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

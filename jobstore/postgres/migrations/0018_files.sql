-- Files that jobs leave behind. docs/decisions/0021-files.md has the reasons.

-- The lists. A row comes before its content and goes after it, so that no content is without a row. size is NULL
-- while the content is written; gone means that nobody has the file any more.
CREATE TABLE @schema@.job_files (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     bigint      NOT NULL,
    lease_no   bigint      NOT NULL,                   -- of the attempt that writes it
    name       text        NOT NULL CHECK (name <> '' AND octet_length(name) <= 255),
    type       text        NOT NULL CHECK (octet_length(type) <= 255),
    size       bigint,
    gone       boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX job_files_job ON @schema@.job_files (job_id, name);
CREATE INDEX job_files_lost ON @schema@.job_files (id) WHERE gone OR size IS NULL;

-- Their content, unless it is kept somewhere else.
CREATE TABLE @schema@.job_file_parts (
    file_id bigint NOT NULL,
    no      int    NOT NULL,                           -- from 0
    data    bytea  NOT NULL,
    PRIMARY KEY (file_id, no)
);
ALTER TABLE @schema@.job_file_parts ALTER COLUMN data SET STORAGE EXTERNAL; -- most files are compressed already

-- job_removed takes along what is kept about jobs that leave the history. A job that runs again leaves it
-- too, and is somewhere else then.
CREATE OR REPLACE FUNCTION @schema@.job_removed() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    DELETE FROM job_logs l USING gone g WHERE l.job_id = g.id AND NOT EXISTS (SELECT FROM jobs_live j WHERE j.id = g.id);
    UPDATE job_files f SET gone = true FROM gone g WHERE f.job_id = g.id AND NOT EXISTS (SELECT FROM jobs_live j WHERE j.id = g.id);
    RETURN NULL;
END $$;

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_files', 'job_file_parts'] LOOP
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', s, name, s || '_app');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_read') THEN
            EXECUTE format('GRANT SELECT ON %I.%I TO %I', s, name, s || '_read');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner' AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER')) THEN
            EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', s, name, s || '_owner');
        END IF;
    END LOOP;
END $$;

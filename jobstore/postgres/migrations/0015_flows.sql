-- Chains, batches and defined flows. docs/decisions/0020-flows.md says how they fit together. Programs
-- older than this migration end jobs of flows without releasing what follows; the sweep of a newer one does.
CREATE TABLE @schema@.job_flows (
    id         bigint      PRIMARY KEY,                -- that of the step that holds all others
    name       text        NOT NULL,
    version    int         NOT NULL DEFAULT 0,         -- of a defined flow
    state      text        NOT NULL DEFAULT 'running',
    args       jsonb,
    metadata   jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_flows_ended ON @schema@.job_flows (state, ended_at);
CREATE INDEX job_flows_created ON @schema@.job_flows (created_at) WHERE ended_at IS NULL;

CREATE SEQUENCE @schema@.job_steps_id_seq AS bigint;

-- The steps of flows. Counters are of the jobs of a step and of the steps in it; whoever changes one has
-- locked the row of the flow.
CREATE TABLE @schema@.job_steps (
    id         bigint  PRIMARY KEY,
    flow_id    bigint  NOT NULL,
    parent     bigint  NOT NULL DEFAULT 0,             -- the step that holds it; of a callback, the one it hears of
    name       text    NOT NULL DEFAULT '',
    role       text    NOT NULL,
    state      text    NOT NULL DEFAULT 'waiting',
    waits      int     NOT NULL DEFAULT 0,             -- edges that have yet to come in
    came       int     NOT NULL DEFAULT 0,
    total      int     NOT NULL DEFAULT 0,
    open       int     NOT NULL DEFAULT 0,             -- released and not ended
    done       int     NOT NULL DEFAULT 0,
    failed     int     NOT NULL DEFAULT 0,
    cancelled  int     NOT NULL DEFAULT 0,
    allow      int     NOT NULL DEFAULT 0,             -- failures; -1 = any number
    percent    int     NOT NULL DEFAULT 0,             -- up to where progress was told
    filled     int     NOT NULL DEFAULT 0,             -- jobs that were added from outside
    passed     boolean NOT NULL DEFAULT false,         -- its edges of success have gone out
    calling    boolean NOT NULL DEFAULT false,         -- what still runs is being cancelled
    started_at timestamptz,
    ended_at   timestamptz,
    jobs       jsonb                                   -- released with it
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_steps_flow ON @schema@.job_steps (flow_id);
CREATE INDEX job_steps_parent ON @schema@.job_steps (parent) WHERE parent > 0;
CREATE INDEX job_steps_calling ON @schema@.job_steps (id) WHERE calling;

CREATE TABLE @schema@.job_step_edges (
    from_step bigint NOT NULL,
    on_what   text   NOT NULL,
    to_step   bigint NOT NULL,
    PRIMARY KEY (from_step, on_what, to_step)
);

-- Ends of jobs that their steps have not counted yet. Whoever ends a job of a flow, by whatever statement,
-- a trigger writes it down here; the transaction counts it and removes the row, or else the sweep does.
CREATE TABLE @schema@.job_step_ends (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id bigint NOT NULL,
    step   bigint NOT NULL,
    was    text,                                       -- the final state that it came back from
    state  text                                        -- what it ended as
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_step_ends_job ON @schema@.job_step_ends (job_id);

-- NULL for a job without a flow: it costs no byte and is in no index.
ALTER TABLE @schema@.jobs ADD COLUMN step bigint;
CREATE INDEX jobs_live_step ON @schema@.jobs_live (step, id) WHERE step IS NOT NULL;
CREATE INDEX jobs_history_step ON @schema@.jobs_history (step, id) WHERE step IS NOT NULL;

CREATE FUNCTION @schema@.job_step_ended() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    INSERT INTO job_step_ends (job_id, step, state) VALUES (NEW.id, NEW.step, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER job_step_ended AFTER INSERT ON @schema@.jobs_history FOR EACH ROW
    WHEN (NEW.step IS NOT NULL) EXECUTE FUNCTION @schema@.job_step_ended();

-- A live row that is deleted without a successor in the history was removed before it ended.
CREATE FUNCTION @schema@.job_step_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    INSERT INTO job_step_ends (job_id, step, state)
    SELECT OLD.id, OLD.step, 'DELETED' WHERE NOT EXISTS (SELECT FROM jobs_history WHERE id = OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER job_step_deleted AFTER DELETE ON @schema@.jobs_live FOR EACH ROW
    WHEN (OLD.step IS NOT NULL) EXECUTE FUNCTION @schema@.job_step_deleted();

-- Jobs come back from the history in one way only, which this row's WHEN names.
CREATE FUNCTION @schema@.job_step_back() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    IF OLD.step IS DISTINCT FROM NEW.step THEN
        RAISE EXCEPTION 'job %: the step of a flow that it is part of cannot be changed', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    INSERT INTO job_step_ends (job_id, step, was) VALUES (OLD.id, OLD.step, OLD.state);
    RETURN NEW;
END $$;
CREATE TRIGGER job_step_back BEFORE UPDATE ON @schema@.jobs FOR EACH ROW WHEN (
    OLD.step IS DISTINCT FROM NEW.step
    OR OLD.step IS NOT NULL AND NEW.state = 'BACK_TO_BROKER'
        AND OLD.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
) EXECUTE FUNCTION @schema@.job_step_back();

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    app CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app');
    owner CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner'
        AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER'));
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_flows', 'job_steps', 'job_step_edges', 'job_step_ends'] LOOP
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
    IF app THEN
        EXECUTE format('GRANT USAGE ON SEQUENCE %I.job_steps_id_seq TO %I', s, s || '_app');
    END IF;
    IF owner THEN
        EXECUTE format('ALTER SEQUENCE %I.job_steps_id_seq OWNER TO %I', s, s || '_owner');
    END IF;
    FOREACH name IN ARRAY ARRAY['job_step_ended()', 'job_step_deleted()', 'job_step_back()'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I.%s FROM PUBLIC', s, name);
        IF app THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %I.%s TO %I', s, name, s || '_app');
        END IF;
        IF owner THEN
            EXECUTE format('ALTER FUNCTION %I.%s OWNER TO %I', s, name, s || '_owner');
        END IF;
    END LOOP;
END $$;

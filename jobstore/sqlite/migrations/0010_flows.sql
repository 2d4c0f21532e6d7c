-- Chains, batches and defined flows. docs/decisions/0020-flows.md says how they fit together.
CREATE TABLE job_flows (
    id         INTEGER PRIMARY KEY,                    -- that of the step that holds all others
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL DEFAULT 0,             -- of a defined flow
    state      TEXT    NOT NULL DEFAULT 'running',
    args       TEXT    CHECK (args IS NULL OR json_valid(args)),
    metadata   TEXT    CHECK (metadata IS NULL OR json_valid(metadata)),
    created_at TEXT    NOT NULL,
    ended_at   TEXT
) STRICT;
CREATE INDEX job_flows_ended ON job_flows (state, ended_at);

-- The steps of flows. Counters are of the jobs of a step and of the steps in it.
CREATE TABLE job_steps (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,      -- a number is never used again: jobs carry it
    flow_id    INTEGER NOT NULL,
    parent     INTEGER NOT NULL DEFAULT 0,             -- the step that holds it; of a callback, the one it hears of
    name       TEXT    NOT NULL DEFAULT '',
    role       TEXT    NOT NULL,
    state      TEXT    NOT NULL DEFAULT 'waiting',
    waits      INTEGER NOT NULL DEFAULT 0,             -- edges that have yet to come in
    came       INTEGER NOT NULL DEFAULT 0,
    total      INTEGER NOT NULL DEFAULT 0,
    open       INTEGER NOT NULL DEFAULT 0,             -- released and not ended
    done       INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    cancelled  INTEGER NOT NULL DEFAULT 0,
    allow      INTEGER NOT NULL DEFAULT 0,             -- failures; -1 = any number
    percent    INTEGER NOT NULL DEFAULT 0,             -- up to where progress was told
    filled     INTEGER NOT NULL DEFAULT 0,             -- jobs that were added from outside
    passed     INTEGER NOT NULL DEFAULT 0,             -- its edges of success have gone out
    calling    INTEGER NOT NULL DEFAULT 0,             -- what still runs is being cancelled
    started_at TEXT,
    ended_at   TEXT,
    jobs       TEXT                                    -- released with it
) STRICT;
CREATE INDEX job_steps_flow ON job_steps (flow_id);
CREATE INDEX job_steps_parent ON job_steps (parent) WHERE parent > 0;
CREATE INDEX job_steps_calling ON job_steps (id) WHERE calling;

CREATE TABLE job_step_edges (
    from_step INTEGER NOT NULL,
    on_what   TEXT    NOT NULL,
    to_step   INTEGER NOT NULL,
    PRIMARY KEY (from_step, on_what, to_step)
) STRICT, WITHOUT ROWID;

-- Ends of jobs that their steps have not counted yet. Whoever ends a job of a flow, by whatever statement,
-- a trigger writes it down here; the transaction counts it and removes the row, or else the sweep does.
CREATE TABLE job_step_ends (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL,
    step   INTEGER NOT NULL,
    was    TEXT,                                       -- the final state that it came back from
    state  TEXT                                        -- what it ended as
) STRICT;
CREATE INDEX job_step_ends_job ON job_step_ends (job_id);

ALTER TABLE jobs ADD COLUMN step INTEGER;
CREATE INDEX jobs_step ON jobs (step, id) WHERE step IS NOT NULL;

CREATE TRIGGER jobs_step_ended AFTER UPDATE OF state, step ON jobs
WHEN NEW.step IS NOT OLD.step OR NEW.step IS NOT NULL AND OLD.state <> NEW.state AND (
    NEW.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
    OR NEW.state = 'BACK_TO_BROKER' AND OLD.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED'))
BEGIN
    SELECT RAISE(ABORT, 'the step of a flow that a job is part of cannot be changed') WHERE NEW.step IS NOT OLD.step;
    INSERT INTO job_step_ends (job_id, step, was, state) VALUES (NEW.id, NEW.step,
        CASE WHEN NEW.state = 'BACK_TO_BROKER' THEN OLD.state END, CASE WHEN NEW.state <> 'BACK_TO_BROKER' THEN NEW.state END);
END;

-- A row that is deleted after its end changes nothing.
CREATE TRIGGER jobs_step_deleted AFTER DELETE ON jobs
WHEN OLD.step IS NOT NULL AND OLD.state NOT IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
BEGIN
    INSERT INTO job_step_ends (job_id, step, state) VALUES (OLD.id, OLD.step, 'DELETED');
END;

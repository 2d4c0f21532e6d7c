-- The rules that hold whoever writes: Warren, or a person with sqlite3. The messages of RAISE are
-- constants, because only SQLite 3.47 and newer can read a schema where they are not.
--
-- Each trigger's WHEN names the signatures of Warren's own statements, so that a plain job never
-- pays for more than a few comparisons: a claim sets the holder and adds one to lease_no, an outcome
-- takes the holder away and sets finished_at, the sweep makes READY what is due.

-- jobs_guard refuses what would break the protocol.
CREATE TRIGGER jobs_guard BEFORE UPDATE OF id, state, holder, lease_no, queue, available_at, serial_group, mode, kind, identifier ON jobs
WHEN OLD.state <> NEW.state AND NOT (
        OLD.state = 'READY' AND NEW.state = 'PROCESSING' AND NEW.holder IS NOT NULL AND NEW.lease_no = OLD.lease_no + 1
        OR OLD.state = 'PROCESSING' AND NEW.holder IS NULL AND NEW.state NOT IN ('SCHEDULED', 'BROKER_FAILED', 'BACK_TO_BROKER')
        OR OLD.state NOT IN ('PROCESSING', 'FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
            AND NEW.state <> 'PROCESSING')
    OR OLD.id <> NEW.id
    OR OLD.state = 'PROCESSING' AND NEW.state = 'PROCESSING' AND (
        OLD.holder <> NEW.holder OR OLD.lease_no <> NEW.lease_no OR OLD.queue <> NEW.queue
        OR OLD.available_at <> NEW.available_at OR OLD.serial_group IS NOT NEW.serial_group)
    OR OLD.mode <> NEW.mode
    OR NEW.mode <> 'normal' AND (OLD.kind <> NEW.kind OR OLD.identifier IS NOT NEW.identifier)
BEGIN
    SELECT RAISE(ABORT, 'the number of a job cannot be changed') WHERE OLD.id <> NEW.id;
    SELECT RAISE(ABORT, 'mode, kind and identifier of a unique or recurring job cannot be changed: cancel it and publish another')
        WHERE (OLD.mode <> 'normal' OR NEW.mode <> 'normal')
            AND (OLD.mode <> NEW.mode OR OLD.kind <> NEW.kind OR OLD.identifier IS NOT NEW.identifier);
    SELECT RAISE(ABORT, 'lease, group, queue and times of a job that is PROCESSING cannot be changed: wait for its attempt to end, or stop its consumer')
        WHERE OLD.state = 'PROCESSING' AND NEW.state = 'PROCESSING';
    SELECT RAISE(ABORT, 'only a consumer that claims a job makes it PROCESSING: to run it, set state = ''BACK_TO_BROKER''')
        WHERE NEW.state = 'PROCESSING' AND OLD.state <> 'PROCESSING';
    SELECT RAISE(ABORT, 'a job that is PROCESSING cannot change its state by hand: wait for its attempt to end, or stop its consumer, what a dead one held is handed back by itself')
        WHERE OLD.state = 'PROCESSING' AND NEW.state <> OLD.state;
    SELECT RAISE(ABORT, 'this job is in a final state: to run it again, set state = ''BACK_TO_BROKER''')
        WHERE OLD.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
            AND NEW.state NOT IN (OLD.state, 'BACK_TO_BROKER');
END;

-- jobs_mend completes what was changed by hand, gives keys back, and makes successors. A BEFORE
-- trigger of SQLite cannot change the new row, so that this one updates it afterwards.
CREATE TRIGGER jobs_mend AFTER UPDATE OF state, priority, queue, available_at, finished_at ON jobs
WHEN OLD.state <> NEW.state AND (
        NEW.state = 'BACK_TO_BROKER'
        OR NEW.finished_at IS NULL AND NEW.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
        OR NEW.finished_at IS NOT NULL AND NEW.mode <> 'normal'
        OR NEW.state = 'READY' AND OLD.state <> 'PROCESSING' AND NEW.available_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    OR OLD.state = 'READY' AND NEW.state = 'READY' AND (
        OLD.priority <> NEW.priority OR OLD.queue <> NEW.queue OR OLD.available_at <> NEW.available_at)
BEGIN
    -- Another run: it needs its key again.
    DELETE FROM job_keys WHERE NEW.state = 'BACK_TO_BROKER' AND NEW.mode <> 'normal'
        AND kind = NEW.kind AND identifier = NEW.identifier AND until <= strftime('%Y-%m-%dT%H:%M:%fZ', 'now');
    INSERT INTO job_keys (kind, identifier, job_id, until)
        SELECT NEW.kind, NEW.identifier, NEW.id, CASE WHEN NEW.unique_for < 0 THEN '9999-12-31T23:59:59.999Z'
            WHEN NEW.unique_for > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 'now', printf('+%d.%03d seconds', NEW.unique_for / 1000, NEW.unique_for % 1000)) END
        WHERE NEW.state = 'BACK_TO_BROKER' AND NEW.mode <> 'normal'
            AND NOT EXISTS (SELECT 1 FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier);
    SELECT RAISE(ABORT, 'a job cannot run again while another job holds its key (kind, identifier; see job_keys): wait until that one has ended, or cancel it')
        WHERE NEW.state = 'BACK_TO_BROKER' AND NEW.mode <> 'normal' AND NOT EXISTS (
            SELECT 1 FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id);
    UPDATE jobs SET finished_at = NULL, duration_ms = NULL, attempts = 0, crashes = 0, announce_at = NULL,
            available_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id = NEW.id AND NEW.state = 'BACK_TO_BROKER' AND OLD.state <> 'BACK_TO_BROKER';

    -- An end by hand: Warren's own statements set finished_at.
    UPDATE jobs SET finished_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), announce_at = NULL, claim_token = NULL
        WHERE id = NEW.id AND NEW.finished_at IS NULL
            AND NEW.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED');

    -- Only the job that holds a series has a successor, and it hands the series on in the same
    -- breath: there are never two. The successor takes the key as every job does, in jobs_added.
    UPDATE job_keys SET job_id = 0
        WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id
            AND NEW.mode = 'recurring' AND NEW.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'QUARANTINED');
    INSERT INTO jobs (state, created_at, available_at, kind, args, queue, priority, serial_group, "coalesce", identifier, mode, every,
            max_attempts, timeout, group_skip, metadata, tags)
        SELECT 'SCHEDULED', j.finished_at,
            strftime('%Y-%m-%dT%H:%M:%fZ', j.finished_at, printf('+%d.%03d seconds', j.every / 1000, j.every % 1000)),
            j.kind, j.args, j.queue, j.priority, j.serial_group, j."coalesce", j.identifier, j.mode, j.every,
            j.max_attempts, j.timeout, j.group_skip, j.metadata, j.tags
        FROM jobs j WHERE j.id = NEW.id AND EXISTS (
            SELECT 1 FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = 0);
    DELETE FROM job_keys
        WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id AND until IS NULL
            AND NEW.state IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED');

    -- READY by hand: later when a later time was given, else now; in another band it is announced anew.
    UPDATE jobs SET
            state = CASE WHEN NEW.available_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AND NEW.available_at <> OLD.available_at
                THEN 'SCHEDULED' ELSE 'READY' END,
            announce_at = CASE WHEN NEW.available_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now') AND NEW.available_at <> OLD.available_at
                THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', 'now') END,
            available_at = CASE WHEN NEW.available_at = OLD.available_at THEN min(NEW.available_at, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
                ELSE NEW.available_at END
        WHERE id = NEW.id AND NEW.state = 'READY';
END;

-- jobs_added decides about keys when a job is inserted, so that two publishers cannot both win.
CREATE TRIGGER jobs_added AFTER INSERT ON jobs
WHEN NEW.mode <> 'normal' AND NEW.state NOT IN ('FINISHED', 'PERMANENTLY_FAILED', 'REDUNDANT', 'CANCELLED', 'QUARANTINED')
    OR NEW.state = 'READY' AND NEW.available_at > NEW.created_at
BEGIN
    UPDATE jobs SET state = 'SCHEDULED', announce_at = NULL
        WHERE id = NEW.id AND NEW.state = 'READY' AND NEW.available_at > NEW.created_at;
    DELETE FROM job_keys WHERE NEW.mode <> 'normal' AND kind = NEW.kind AND identifier = NEW.identifier
        AND (job_id = 0 OR until <= NEW.created_at);
    INSERT INTO job_keys (kind, identifier, job_id, until)
        SELECT NEW.kind, NEW.identifier, NEW.id, CASE WHEN NEW.unique_for < 0 THEN '9999-12-31T23:59:59.999Z'
            WHEN NEW.unique_for > 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', NEW.created_at, printf('+%d.%03d seconds', NEW.unique_for / 1000, NEW.unique_for % 1000)) END
        WHERE NEW.mode <> 'normal'
            AND NOT EXISTS (SELECT 1 FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier);
    UPDATE jobs SET state = 'REDUNDANT', finished_at = NEW.created_at, announce_at = NULL
        WHERE id = NEW.id AND NEW.mode <> 'normal' AND NOT EXISTS (
            SELECT 1 FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id);
END;

-- jobs_deleted frees the key of a job that was deleted by hand.
CREATE TRIGGER jobs_deleted AFTER DELETE ON jobs WHEN OLD.mode <> 'normal'
BEGIN
    DELETE FROM job_keys WHERE kind = OLD.kind AND identifier = OLD.identifier AND job_id = OLD.id AND until IS NULL;
END;

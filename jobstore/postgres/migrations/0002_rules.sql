-- The rules that hold whoever writes: Warren, or a person with psql.

-- take_key gives (kind, identifier) to a job, unless another job holds it, and returns the
-- number of the job that has it afterwards. Two callers cannot both win: the second waits for
-- the first one's commit on the key's row.
CREATE FUNCTION @schema@.take_key(p_kind text, p_identifier text, p_job bigint, p_unique_for interval) RETURNS bigint
LANGUAGE sql SET search_path = @schema@, pg_temp AS $$
    INSERT INTO job_keys AS k (kind, identifier, job_id, until)
    VALUES (p_kind, p_identifier, p_job,
            CASE WHEN p_unique_for < interval '0' THEN 'infinity' ELSE now() + p_unique_for END)
    ON CONFLICT (kind, identifier) DO UPDATE SET
        job_id = CASE WHEN k.until <= now() THEN excluded.job_id ELSE k.job_id END,
        until  = CASE WHEN k.until <= now() THEN excluded.until ELSE k.until END
    RETURNING k.job_id
$$;

-- guard_job mends or refuses what is changed by hand. Its trigger's WHEN names the signatures of
-- Warren's own statements, so that they never pay for it: a claim sets the holder and adds one to
-- lease_no, an outcome takes the holder away, the sweep makes READY what is due.
CREATE FUNCTION @schema@.guard_job() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    final CONSTANT text[] := '{FINISHED,PERMANENTLY_FAILED,REDUNDANT,CANCELLED,QUARANTINED}';
    owner bigint;
BEGIN
    IF NEW.id <> OLD.id THEN
        RAISE EXCEPTION 'job %: its number cannot be changed', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    IF (OLD.mode <> 'normal' OR NEW.mode <> 'normal')
        AND (OLD.mode, OLD.kind, OLD.identifier) IS DISTINCT FROM (NEW.mode, NEW.kind, NEW.identifier) THEN
        RAISE EXCEPTION 'job %: mode, kind and identifier of a % job cannot be changed', OLD.id,
            CASE WHEN OLD.mode <> 'normal' THEN OLD.mode ELSE NEW.mode END
            USING ERRCODE = 'restrict_violation', HINT = 'Cancel it and publish another.';
    END IF;
    IF OLD.state = 'PROCESSING' AND NEW.state = 'PROCESSING' THEN
        RAISE EXCEPTION 'job % is PROCESSING on consumer %: its lease, group, queue and times cannot be changed now', OLD.id, OLD.holder
            USING ERRCODE = 'restrict_violation', HINT = 'Wait for its attempt to end, or stop that consumer.';
    END IF;

    IF NEW.state <> OLD.state THEN
        IF NEW.state = 'PROCESSING' THEN
            RAISE EXCEPTION 'job % is %: only a consumer that claims it makes it PROCESSING', OLD.id, OLD.state
                USING ERRCODE = 'restrict_violation', HINT = 'To run it, set state = ''BACK_TO_BROKER''.';
        ELSIF OLD.state = 'PROCESSING' AND (NEW.holder IS NOT NULL
            OR NEW.state IN ('SCHEDULED', 'BROKER_FAILED', 'BACK_TO_BROKER')) THEN
            RAISE EXCEPTION 'job % is PROCESSING on consumer % and cannot become % by hand', OLD.id, OLD.holder, NEW.state
                USING ERRCODE = 'restrict_violation',
                HINT = 'Wait for its attempt to end, or stop that consumer: what a dead consumer held is handed back by itself.';
        ELSIF OLD.state = ANY (final) AND NEW.state <> 'BACK_TO_BROKER' THEN
            RAISE EXCEPTION 'job % is %, which is final, and cannot become %', OLD.id, OLD.state, NEW.state
                USING ERRCODE = 'restrict_violation', HINT = 'To run it again, set state = ''BACK_TO_BROKER''.';
        END IF;

        IF NEW.state = 'BACK_TO_BROKER' THEN
            IF NEW.mode <> 'normal' THEN
                owner := take_key(NEW.kind, NEW.identifier, NEW.id, NEW.unique_for);
                IF owner <> NEW.id THEN
                    RAISE EXCEPTION 'job % cannot run again: job % holds its key (kind %, identifier %)',
                        NEW.id, owner, NEW.kind, NEW.identifier
                        USING ERRCODE = 'restrict_violation', HINT = 'Wait until that job has ended, or cancel it.';
                END IF;
            END IF;
            NEW.finished_at := NULL;
            NEW.duration_ms := NULL;
            NEW.attempts := 0;
            NEW.crashes := 0;
            NEW.available_at := now();
            NEW.announce_at := NULL;
        ELSIF NEW.state = ANY (final) THEN
            NEW.finished_at := now();
            NEW.announce_at := NULL;
            NEW.claim_token := NULL;
            IF OLD.state = 'PROCESSING' AND OLD.serial_group IS NOT NULL THEN
                DELETE FROM job_groups WHERE serial_group = OLD.serial_group AND running_id = OLD.id;
            END IF;
        END IF;
    END IF;

    IF NEW.state = 'READY' THEN
        IF NEW.available_at > now() THEN
            IF NEW.available_at IS DISTINCT FROM OLD.available_at THEN
                NEW.state := 'SCHEDULED';
                NEW.announce_at := NULL;
            ELSE                    -- somebody wants it to run now
                NEW.available_at := now();
                NEW.announce_at := now();
            END IF;
        ELSE
            NEW.announce_at := now();
        END IF;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER guard_job BEFORE UPDATE ON @schema@.jobs FOR EACH ROW WHEN (
    OLD.state <> NEW.state AND NOT (
        OLD.state = 'READY' AND NEW.state = 'PROCESSING' AND NEW.holder IS NOT NULL AND NEW.lease_no = OLD.lease_no + 1
        OR OLD.state = 'PROCESSING' AND NEW.holder IS NULL AND NEW.state IN ('READY', 'WAITING', 'TEMPORARILY_FAILED')
        OR OLD.state IN ('SCHEDULED', 'WAITING', 'TEMPORARILY_FAILED', 'BROKER_FAILED', 'BACK_TO_BROKER')
            AND NEW.state = 'READY' AND NEW.available_at <= now())
    OR OLD.id <> NEW.id
    OR OLD.state = 'PROCESSING' AND NEW.state = 'PROCESSING' AND (
        OLD.holder <> NEW.holder OR OLD.lease_no <> NEW.lease_no OR OLD.queue <> NEW.queue
        OR OLD.available_at <> NEW.available_at OR OLD.serial_group IS DISTINCT FROM NEW.serial_group)
    OR NEW.state = 'READY' AND OLD.state = 'READY' AND (
        OLD.priority <> NEW.priority OR OLD.queue <> NEW.queue OR OLD.available_at <> NEW.available_at)
    OR OLD.mode <> NEW.mode
    OR NEW.mode <> 'normal' AND (OLD.kind <> NEW.kind OR OLD.identifier IS DISTINCT FROM NEW.identifier)
) EXECUTE FUNCTION @schema@.guard_job();

-- job_ended runs when a job with a key arrives in the history, whoever moved it there: it makes
-- the successor of a recurring job, or frees the key.
CREATE FUNCTION @schema@.job_ended() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    successor bigint;
BEGIN
    IF NEW.mode = 'recurring' AND NEW.state <> 'CANCELLED' THEN
        -- Only the job that holds the series has a successor, and it hands the series on in the
        -- same breath: there are never two.
        UPDATE job_keys SET job_id = nextval('jobs_id_seq')
        WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id
        RETURNING job_id INTO successor;
        IF FOUND THEN
            INSERT INTO jobs_live (id, state, available_at, kind, args, queue, priority, serial_group, "coalesce", identifier,
                mode, every, max_attempts, timeout, group_skip, metadata, tags)
            VALUES (successor, 'SCHEDULED', now() + NEW.every, NEW.kind, NEW.args, NEW.queue, NEW.priority, NEW.serial_group,
                NEW."coalesce", NEW.identifier, NEW.mode, NEW.every, NEW.max_attempts, NEW.timeout, NEW.group_skip,
                NEW.metadata, NEW.tags);
        END IF;
    ELSE
        DELETE FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id AND until IS NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER job_ended AFTER INSERT ON @schema@.jobs_history FOR EACH ROW
    WHEN (NEW.mode <> 'normal') EXECUTE FUNCTION @schema@.job_ended();

-- job_deleted frees the key of a live job that was deleted by hand; one that went to the history
-- has been dealt with by job_ended.
CREATE FUNCTION @schema@.job_deleted() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
BEGIN
    DELETE FROM job_keys
    WHERE kind = OLD.kind AND identifier = OLD.identifier AND job_id = OLD.id AND until IS NULL
        AND NOT EXISTS (SELECT FROM jobs_history WHERE id = OLD.id);
    RETURN NULL;
END $$;
CREATE TRIGGER job_deleted AFTER DELETE ON @schema@.jobs_live FOR EACH ROW
    WHEN (OLD.mode <> 'normal') EXECUTE FUNCTION @schema@.job_deleted();

-- Times that everybody can read. One row due at infinity, from which nothing can be subtracted, or with a timeout of a
-- million years, stops the sweep or the claim that meets it, and with that every other job. So nobody may write one.

-- 9223372036.854775 seconds, 292 years, are what a count of nanoseconds holds in 64 bits. What is NULL passes. The rule comes
-- before the rows are mended, because with it comes a lock: nobody writes another such row meanwhile.
ALTER TABLE @schema@.jobs_live ADD CONSTRAINT "jobs_times: years 1970 to 9999, intervals up to 292 years" CHECK (
    available_at >= '1970-01-01 00:00+00' AND available_at < '10000-01-01 00:00+00'
    AND extract(epoch FROM every) <= 9223372036.854775 AND extract(epoch FROM timeout) <= 9223372036.854775
    AND extract(epoch FROM unique_for) <= 9223372036.854775) NOT VALID;

-- guard_job would refuse the rows that are PROCESSING, and they have to be mended too: most outcomes keep them.
ALTER TABLE @schema@.jobs_live DISABLE TRIGGER guard_job;
UPDATE @schema@.jobs_live SET
    state = CASE WHEN state = 'READY' AND available_at > now() THEN 'SCHEDULED' ELSE state END,
    available_at = greatest(least(available_at, '9999-12-31 00:00+00'), '1970-01-01 00:00+00'),
    every = CASE WHEN extract(epoch FROM every) > 9223372036.854775 THEN interval '106751 days' ELSE every END,
    timeout = CASE WHEN extract(epoch FROM timeout) > 9223372036.854775 THEN interval '106751 days' ELSE timeout END,
    unique_for = CASE WHEN extract(epoch FROM unique_for) > 9223372036.854775 THEN interval '106751 days' ELSE unique_for END
WHERE available_at < '1970-01-01 00:00+00' OR available_at >= '10000-01-01 00:00+00' OR extract(epoch FROM every) > 9223372036.854775
    OR extract(epoch FROM timeout) > 9223372036.854775 OR extract(epoch FROM unique_for) > 9223372036.854775;
ALTER TABLE @schema@.jobs_live ENABLE TRIGGER guard_job;

-- As in 0002, but the next of a series can always be written.
CREATE OR REPLACE FUNCTION @schema@.job_ended() RETURNS trigger
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    successor bigint;
    every CONSTANT interval := CASE WHEN extract(epoch FROM NEW.every) > 9223372036.854775 THEN interval '106751 days' ELSE NEW.every END;
    timeout CONSTANT interval := CASE WHEN extract(epoch FROM NEW.timeout) > 9223372036.854775 THEN interval '106751 days' ELSE NEW.timeout END;
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
            VALUES (successor, 'SCHEDULED', now() + every, NEW.kind, NEW.args, NEW.queue, NEW.priority, NEW.serial_group,
                NEW."coalesce", NEW.identifier, NEW.mode, every, NEW.max_attempts, timeout, NEW.group_skip,
                NEW.metadata, NEW.tags);
        END IF;
    ELSE
        DELETE FROM job_keys WHERE kind = NEW.kind AND identifier = NEW.identifier AND job_id = NEW.id AND until IS NULL;
    END IF;
    RETURN NULL;
END $$;

-- As in 0003, with the limits that publishing from Go has.
CREATE OR REPLACE FUNCTION @schema@.enqueue(
    kind text,
    args jsonb DEFAULT '{}',
    queue text DEFAULT NULL,
    priority int DEFAULT NULL,
    serial_group text DEFAULT NULL,
    identifier text DEFAULT NULL,
    mode text DEFAULT 'normal',
    every interval DEFAULT NULL,
    available_at timestamptz DEFAULT NULL,
    "coalesce" bigint DEFAULT NULL,
    max_attempts int DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
#variable_conflict use_column
DECLARE
    config settings;
    defaults kinds;
    new_id bigint;
    winner bigint;
    bytes int;
BEGIN
    SELECT * INTO STRICT config FROM settings;
    SELECT * INTO defaults FROM kinds k WHERE k.kind = enqueue.kind;

    IF enqueue.kind IS NULL THEN
        RAISE EXCEPTION 'kind is missing' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM check_name('kind', enqueue.kind, '^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$');
    enqueue.args := CASE WHEN enqueue.args IS NULL THEN '{}' ELSE enqueue.args END;
    bytes := octet_length(enqueue.args::text);
    IF bytes > config.max_args THEN
        RAISE EXCEPTION 'args have % bytes, more than the % that are allowed', bytes, config.max_args
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Store the data elsewhere and put its address into args.';
    END IF;
    enqueue.queue := CASE WHEN enqueue.queue IS NOT NULL THEN enqueue.queue
        WHEN defaults.queue IS NOT NULL THEN defaults.queue ELSE config.default_queue END;
    PERFORM check_name('queue', enqueue.queue, '^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$');
    enqueue.priority := CASE WHEN enqueue.priority IS NOT NULL THEN enqueue.priority
        WHEN defaults.priority IS NOT NULL THEN defaults.priority ELSE config.priorities[1] END;
    IF enqueue.priority <> ALL (config.priorities) THEN
        RAISE EXCEPTION 'priority % is not configured (%)', enqueue.priority, array_to_string(config.priorities, ', ')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.serial_group IS NOT NULL THEN
        PERFORM check_label('serial_group', enqueue.serial_group);
    END IF;
    IF enqueue.identifier IS NOT NULL THEN
        PERFORM check_label('identifier', enqueue.identifier);
    END IF;
    enqueue.mode := CASE WHEN enqueue.mode IS NULL THEN 'normal' ELSE enqueue.mode END;
    IF enqueue.mode NOT IN ('normal', 'unique', 'recurring') THEN
        RAISE EXCEPTION 'mode % is unknown (normal, unique, recurring)', quote_literal(left(enqueue.mode, 100))
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.mode <> 'normal' AND enqueue.identifier IS NULL THEN
        RAISE EXCEPTION 'mode % needs an identifier', enqueue.mode USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.mode = 'recurring' AND (enqueue.every IS NULL OR enqueue.every <= interval '0') THEN
        RAISE EXCEPTION 'mode recurring needs every, a positive interval' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF extract(epoch FROM enqueue.every) > 9223372036.854775 THEN
        RAISE EXCEPTION 'every % is longer than 292 years', enqueue.every USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.mode <> 'recurring' AND enqueue.every IS NOT NULL THEN
        RAISE EXCEPTION 'every is for mode recurring, not %', enqueue.mode USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue."coalesce" IS NOT NULL AND enqueue.serial_group IS NULL THEN
        RAISE EXCEPTION 'coalesce needs a serial_group' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    enqueue.max_attempts := CASE WHEN enqueue.max_attempts IS NOT NULL THEN enqueue.max_attempts
        WHEN defaults.kind IS NOT NULL THEN defaults.max_attempts ELSE 25 END;
    IF enqueue.max_attempts < 0 THEN
        RAISE EXCEPTION 'max_attempts % is negative (0 = no limit)', enqueue.max_attempts USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF enqueue.max_attempts > 32767 THEN
        RAISE EXCEPTION 'max_attempts % is more than 32767 (0 = no limit)', enqueue.max_attempts USING ERRCODE = 'invalid_parameter_value';
    END IF;
    enqueue.available_at := CASE WHEN enqueue.available_at IS NULL THEN now() ELSE enqueue.available_at END;
    IF enqueue.available_at < '1970-01-01 00:00+00' OR enqueue.available_at >= '10000-01-01 00:00+00' THEN
        RAISE EXCEPTION 'available_at % is outside of the years 1970 to 9999', enqueue.available_at USING ERRCODE = 'invalid_parameter_value';
    END IF;

    new_id := nextval('jobs_id_seq');
    winner := new_id;
    IF enqueue.mode <> 'normal' THEN
        winner := take_key(enqueue.kind, enqueue.identifier, new_id, NULL);
    END IF;
    INSERT INTO jobs (id, state, available_at, announce_at, finished_at, kind, args, queue, priority, serial_group, "coalesce",
        identifier, mode, every, max_attempts, timeout, group_skip)
    SELECT new_id, s.state, enqueue.available_at,
        CASE WHEN s.state = 'READY' THEN now() END, CASE WHEN s.state = 'REDUNDANT' THEN now() END,
        enqueue.kind, enqueue.args, enqueue.queue, enqueue.priority, enqueue.serial_group, enqueue."coalesce",
        enqueue.identifier, enqueue.mode, enqueue.every, enqueue.max_attempts, defaults.timeout,
        defaults.group_skip IS TRUE
    FROM (SELECT CASE WHEN winner <> new_id THEN 'REDUNDANT'
        WHEN enqueue.available_at > now() THEN 'SCHEDULED' ELSE 'READY' END AS state) s;
    RETURN new_id;
END $$;

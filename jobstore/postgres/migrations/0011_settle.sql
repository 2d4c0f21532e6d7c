-- Unique jobs whose key needs more than a look whether it is free.

-- As in 0002, but a period of nothing (until the start) is no time at which the key is free.
CREATE OR REPLACE FUNCTION @schema@.take_key(p_kind text, p_identifier text, p_job bigint, p_unique_for interval) RETURNS bigint
LANGUAGE sql SET search_path = @schema@, pg_temp AS $$
    INSERT INTO job_keys AS k (kind, identifier, job_id, until)
    VALUES (p_kind, p_identifier, p_job,
            CASE WHEN p_unique_for < interval '0' THEN 'infinity' ELSE now() + nullif(p_unique_for, interval '0') END)
    ON CONFLICT (kind, identifier) DO UPDATE SET
        job_id = CASE WHEN k.until <= now() THEN excluded.job_id ELSE k.job_id END,
        until  = CASE WHEN k.until <= now() THEN excluded.until ELSE k.until END
    RETURNING k.job_id
$$;

-- settle_key gives (kind, identifier) to a job and returns 0, or returns the number of the job that
-- keeps it. A key that is kept until the start is free when its holder has been claimed.
--
-- Each statement of this function has a snapshot of its own, so that it sees what others committed
-- while it waited for them. Jobs are locked before keys, as by everybody who ends a job. A holder that
-- has not started stays locked until the end of the transaction: claims pass it over, so that it does
-- not start before what it makes needless is committed.
CREATE FUNCTION @schema@.settle_key(p_kind text, p_identifier text, p_job bigint, p_unique_for interval) RETURNS bigint
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    kept_until CONSTANT timestamptz := CASE WHEN p_unique_for < interval '0' THEN 'infinity'::timestamptz
        ELSE now() + nullif(p_unique_for, interval '0') END;
    found_key job_keys;
    holder jobs_live;
BEGIN
    FOR round IN 1..100 LOOP
        SELECT * INTO found_key FROM job_keys WHERE kind = p_kind AND identifier = p_identifier;
        IF NOT FOUND THEN
            INSERT INTO job_keys (kind, identifier, job_id, until) VALUES (p_kind, p_identifier, p_job, kept_until)
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                RETURN 0;
            END IF;
            CONTINUE;
        END IF;
        SELECT * INTO holder FROM jobs_live WHERE id = found_key.job_id;
        IF FOUND AND holder.state <> 'PROCESSING' THEN
            SELECT * INTO holder FROM jobs_live WHERE id = found_key.job_id FOR NO KEY UPDATE;
            IF NOT EXISTS (SELECT FROM job_keys WHERE kind = p_kind AND identifier = p_identifier AND job_id = found_key.job_id) THEN
                CONTINUE;
            END IF;
        END IF;
        IF found_key.until <= now() OR holder.unique_for = interval '0' AND holder.lease_no > 0 THEN
            UPDATE job_keys SET job_id = p_job, until = kept_until
            WHERE kind = p_kind AND identifier = p_identifier AND job_id = found_key.job_id;
            IF FOUND THEN
                RETURN 0;
            END IF;
            CONTINUE;
        END IF;
        IF holder.id IS NOT NULL OR found_key.until IS NOT NULL THEN
            RETURN found_key.job_id;
        END IF;
        -- The holder ended between two statements, and its key goes with it; or an operator has
        -- removed rows past the triggers, which 'warren reconcile' mends.
    END LOOP;
    RAISE EXCEPTION 'the key (kind %, identifier %) changes hands too often, or belongs to no job', p_kind, p_identifier
        USING ERRCODE = 'lock_not_available', HINT = 'Try again. warren reconcile --fix removes keys without a job.';
END $$;

-- settle_jobs inserts jobs in the order of their keys, and returns what became of each. p_jobs is a
-- list of objects; durations are microseconds. replace has the bits 1 (args, metadata, tags), 2 (queue,
-- priority) and 4 (due time).
CREATE FUNCTION @schema@.settle_jobs(p_jobs jsonb)
RETURNS TABLE (ord int, id bigint, queue text, priority smallint, state text, existing bigint)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
#variable_conflict use_column
DECLARE
    j record;
    due timestamptz;
    period interval;
BEGIN
    FOR j IN
        WITH input AS MATERIALIZED (
            SELECT nextval('jobs_id_seq') AS new_id, i.* FROM (
                SELECT * FROM jsonb_to_recordset(p_jobs) AS i(ord int, kind text, args jsonb, queue text, priority smallint,
                    serial_group text, group_skip boolean, "coalesce" bigint, identifier text, mode text, every bigint,
                    unique_for bigint, at timestamptz, delay bigint, max_attempts int, timeout bigint, metadata jsonb,
                    tags text[], outbox boolean, replace int, max_wait bigint)
                ORDER BY ord) i)
        SELECT * FROM input i ORDER BY i.kind, i.identifier, i.ord
    LOOP
        due := CASE WHEN j.at IS NOT NULL THEN j.at ELSE now() + make_interval(secs => j.delay / 1e6) END;
        period := make_interval(secs => j.unique_for / 1e6);
        ord := j.ord;
        existing := CASE WHEN j.mode = 'normal' THEN 0 ELSE settle_key(j.kind, j.identifier, j.new_id, period) END;
        IF existing <> 0 AND j.replace <> 0 THEN
            UPDATE jobs_live l SET
                args = CASE WHEN j.replace & 1 <> 0 THEN j.args ELSE l.args END,
                metadata = CASE WHEN j.replace & 1 <> 0 THEN j.metadata ELSE l.metadata END,
                tags = CASE WHEN j.replace & 1 <> 0 THEN j.tags ELSE l.tags END,
                queue = CASE WHEN j.replace & 2 <> 0 THEN j.queue ELSE l.queue END,
                priority = CASE WHEN j.replace & 2 <> 0 THEN j.priority ELSE l.priority END,
                available_at = CASE WHEN j.replace & 4 <> 0 THEN least(due, l.created_at + make_interval(secs => j.max_wait / 1e6))
                    ELSE l.available_at END
            WHERE l.id = existing AND l.state <> 'PROCESSING'
            RETURNING l.id, l.queue, l.priority, l.state INTO id, queue, priority, state;
            IF FOUND THEN
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;
        INSERT INTO jobs AS n (id, state, available_at, announce_at, finished_at, kind, args, queue, priority, serial_group,
            group_skip, "coalesce", identifier, mode, every, unique_for, max_attempts, timeout, metadata, tags)
        SELECT j.new_id, s.state, due, CASE WHEN j.outbox AND s.state = 'READY' THEN now() END,
            CASE WHEN s.state = 'REDUNDANT' THEN now() END, j.kind, j.args, j.queue, j.priority, j.serial_group, j.group_skip,
            j."coalesce", j.identifier, j.mode, make_interval(secs => j.every / 1e6), period, j.max_attempts,
            make_interval(secs => j.timeout / 1e6), j.metadata, j.tags
        FROM (SELECT CASE WHEN existing <> 0 THEN 'REDUNDANT' WHEN due > now() THEN 'SCHEDULED' ELSE 'READY' END AS state) s
        RETURNING n.id, n.queue, n.priority, n.state INTO id, queue, priority, state;
        RETURN NEXT;
    END LOOP;
END $$;

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['settle_key(text, text, bigint, interval)', 'settle_jobs(jsonb)'] LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %I.%s FROM PUBLIC', s, f);
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %I.%s TO %I', s, f, s || '_app');
        END IF;
        IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner') THEN
            IF pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
                EXECUTE format('ALTER FUNCTION %I.%s OWNER TO %I', s, f, s || '_owner');
            END IF;
        END IF;
    END LOOP;
END $$;

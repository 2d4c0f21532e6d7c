-- What is asked before a handler is called: rate limits, locks, breakers. A job whose kind has none
-- of them comes by none of these tables. docs/decisions/0009-guards.md has the reasons.

-- One row a bucket. Both columns are the time at which the bucket is full again (GCRA): started counts
-- the jobs that began, planned also those that were told when to come back. A row whose times have
-- passed says the same as none, and is removed by retention.
CREATE TABLE @schema@.job_limits (
    key     text        PRIMARY KEY CHECK (octet_length(key) BETWEEN 1 AND 255),
    planned timestamptz NOT NULL,
    started timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

-- Who has a place, and who waits for one. A place is had for as long as the job is PROCESSING under
-- this lease: whatever ends the lease ends the lock.
CREATE TABLE @schema@.job_locks (
    key      text    NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 255),
    job_id   bigint  NOT NULL,
    lease_no bigint  NOT NULL,
    held     boolean NOT NULL,
    PRIMARY KEY (key, job_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX job_locks_held ON @schema@.job_locks (key) WHERE held;

-- Errors of something that many jobs need. open_until is NULL while jobs may run; once it has passed, one
-- job at a time tries, for as long as it has its lease.
CREATE TABLE @schema@.job_breakers (
    name        text        PRIMARY KEY CHECK (octet_length(name) BETWEEN 1 AND 255),
    failures    int         NOT NULL DEFAULT 0,
    since       timestamptz NOT NULL DEFAULT now(),     -- when the failures began to be counted
    open_until  timestamptz,
    opened      int         NOT NULL DEFAULT 0,         -- how often in a row
    probe_id    bigint,
    probe_lease bigint,
    error       text                                    -- what failed last
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);

CREATE FUNCTION @schema@.job_leased(job bigint, lease bigint) RETURNS boolean
LANGUAGE sql STABLE SET search_path = @schema@, pg_temp AS $$
    SELECT EXISTS (SELECT FROM jobs_live j WHERE j.id = job AND j.lease_no = lease AND j.state || '' = 'PROCESSING')
$$;

-- job_admit answers a batch of admissions in its order; buckets are locked in the order of their keys.
-- step is what a job takes, burst what a full bucket has, in microseconds. begins = may begin, after
-- wait; else it may come back after wait, and has a claim on that moment unless it is dropped.
CREATE FUNCTION @schema@.job_admit(keys text[], steps bigint[], bursts bigint[], dues boolean[], drops boolean[])
RETURNS TABLE (n bigint, begins boolean, wait bigint)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    r record;
    bucket text;
    p timestamptz;
    s timestamptz;
    t timestamptz;
    step interval;
    burst interval;
    late interval;
BEGIN
    -- Those that were given a moment go before those that come new.
    FOR r IN SELECT a.* FROM unnest(keys, steps, bursts, dues, drops) WITH ORDINALITY AS a(key, step, burst, due, dropped, n)
        ORDER BY a.key COLLATE "C", a.due DESC, a.n
    LOOP
        IF bucket IS DISTINCT FROM r.key THEN
            IF bucket IS NOT NULL THEN
                UPDATE job_limits l SET planned = p, started = s WHERE l.key = bucket;
            END IF;
            bucket := r.key;
            LOOP
                SELECT l.planned, l.started INTO p, s FROM job_limits l WHERE l.key = bucket FOR NO KEY UPDATE;
                EXIT WHEN FOUND;
                INSERT INTO job_limits VALUES (bucket, '-infinity', '-infinity') ON CONFLICT DO NOTHING;
            END LOOP;
            t := clock_timestamp(); -- after the wait for the row
            s := greatest(s, t);
            p := greatest(p, s);
        END IF;
        step := interval '1 microsecond' * r.step;
        burst := interval '1 microsecond' * r.burst;
        n := r.n;
        late := s + step - burst - t;
        IF r.due AND late <= interval '1 second' THEN
            s := s + step;
            begins := true;
        ELSE
            late := greatest(p, s) + step - burst - t;
            begins := late <= interval '0';
            IF begins THEN
                s := s + step;
            END IF;
            IF begins OR NOT r.dropped THEN
                p := greatest(p, s - CASE WHEN begins THEN step ELSE interval '0' END) + step;
            END IF;
        END IF;
        p := greatest(p, s);
        wait := greatest(0, ceil(extract(epoch FROM late) * 1e6))::bigint;
        RETURN NEXT;
    END LOOP;
    IF bucket IS NOT NULL THEN
        UPDATE job_limits l SET planned = p, started = s WHERE l.key = bucket;
    END IF;
END $$;

-- job_lock answers a batch of requests for places in its order. A key's requests are made one after
-- the other, by a lock that ends with the transaction, so that every count sees the one before.
CREATE FUNCTION @schema@.job_lock(keys text[], places int[], ids bigint[], leases bigint[], waits boolean[])
RETURNS TABLE (n bigint, got boolean)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    r record;
    locked text;
BEGIN
    FOR r IN SELECT a.* FROM unnest(keys, places, ids, leases, waits) WITH ORDINALITY AS a(key, places, id, lease, waits, n)
        ORDER BY a.key COLLATE "C", a.n
    LOOP
        IF locked IS DISTINCT FROM r.key THEN
            locked := r.key;
            PERFORM pg_advisory_xact_lock(hashtextextended(@schema_text@ || ' lock ' || r.key, 0));
            DELETE FROM job_locks l WHERE l.key = r.key AND l.held AND NOT job_leased(l.job_id, l.lease_no);
        END IF;
        SELECT count(*) < r.places INTO got FROM job_locks l WHERE l.key = r.key AND l.held AND l.job_id <> r.id;
        IF got OR r.waits THEN
            INSERT INTO job_locks AS l (key, job_id, lease_no, held) VALUES (r.key, r.id, r.lease, got)
            ON CONFLICT (key, job_id) DO UPDATE SET lease_no = excluded.lease_no, held = excluded.held;
        END IF;
        n := r.n;
        RETURN NEXT;
    END LOOP;
END $$;

-- job_unlock gives places back, and for each makes the first job that waits for the key READY.
CREATE FUNCTION @schema@.job_unlock(keys text[], ids bigint[], leases bigint[])
RETURNS TABLE (id bigint, queue text, priority smallint)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
#variable_conflict use_column
DECLARE
    r record;
BEGIN
    FOR r IN SELECT a.* FROM unnest(keys, ids, leases) WITH ORDINALITY AS a(key, id, lease, n) ORDER BY a.key COLLATE "C", a.n LOOP
        DELETE FROM job_locks l WHERE l.key = r.key AND l.job_id = r.id AND l.lease_no = r.lease AND l.held;
        IF FOUND THEN
            RETURN QUERY UPDATE jobs_live j SET state = 'READY', available_at = now()
                WHERE j.id = (
                    SELECT w.id FROM job_locks l JOIN jobs_live w ON w.id = l.job_id
                    WHERE l.key = r.key AND NOT l.held AND w.lease_no = l.lease_no AND w.state || '' = 'WAITING'
                    ORDER BY l.job_id LIMIT 1 FOR NO KEY UPDATE OF w SKIP LOCKED
                )
                RETURNING j.id, j.queue, j.priority;
        END IF;
    END LOOP;
END $$;

-- job_breaker_enter says whether a job may begin: wait = 0. It is the one that tries when probe is true.
CREATE FUNCTION @schema@.job_breaker_enter(breaker text, job bigint, lease bigint, OUT wait bigint, OUT probe boolean)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    b job_breakers;
    t timestamptz;
BEGIN
    wait := 0;
    probe := false;
    SELECT * INTO b FROM job_breakers WHERE name = breaker;
    IF b.open_until IS NULL THEN
        RETURN;
    END IF;
    IF b.open_until <= clock_timestamp() THEN
        SELECT * INTO b FROM job_breakers WHERE name = breaker FOR NO KEY UPDATE;
    END IF;
    t := clock_timestamp();
    IF b.open_until > t THEN
        wait := ceil(extract(epoch FROM b.open_until - t) * 1e6);
    ELSIF b.open_until IS NOT NULL THEN
        IF b.probe_id IS NOT NULL AND b.probe_id <> job AND job_leased(b.probe_id, b.probe_lease) THEN
            wait := 1000000;
        ELSE
            probe := true;
            UPDATE job_breakers SET probe_id = job, probe_lease = lease WHERE name = breaker;
        END IF;
    END IF;
END $$;

-- job_breaker_report counts a failure, or what the try of an open breaker came to. It says whether the
-- breaker has opened or closed by this, and for how long it is open now.
CREATE FUNCTION @schema@.job_breaker_report(breaker text, job bigint, lease bigint, failed text, threshold int, period bigint, cooldown bigint,
    OUT opened boolean, OUT closed boolean, OUT wait bigint)
LANGUAGE plpgsql SET search_path = @schema@, pg_temp AS $$
DECLARE
    b job_breakers;
    t timestamptz;
BEGIN
    opened := false;
    closed := false;
    wait := 0;
    IF failed IS NOT NULL THEN
        INSERT INTO job_breakers (name) VALUES (breaker) ON CONFLICT DO NOTHING;
    END IF;
    SELECT * INTO b FROM job_breakers WHERE name = breaker FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    t := clock_timestamp();
    IF b.open_until IS NOT NULL THEN
        -- Only the job that tries says anything new about what is known to be broken.
        IF b.probe_id IS DISTINCT FROM job OR b.probe_lease IS DISTINCT FROM lease THEN
            wait := greatest(0, ceil(extract(epoch FROM b.open_until - t) * 1e6));
            RETURN;
        END IF;
        closed := failed IS NULL;
        opened := NOT closed;
    ELSIF failed IS NOT NULL THEN
        IF b.failures = 0 OR b.since < t - interval '1 microsecond' * period THEN
            b.failures := 0;
            b.since := t;
        END IF;
        b.failures := b.failures + 1;
        opened := b.failures >= threshold;
    ELSE
        RETURN;
    END IF;
    IF opened THEN
        b.open_until := t + interval '1 microsecond' * cooldown;
        b.opened := b.opened + 1;
        wait := cooldown;
    ELSIF closed THEN
        b.open_until := NULL;
        b.opened := 0;
    END IF;
    IF opened OR closed THEN
        b.failures := 0;
    END IF;
    UPDATE job_breakers k SET failures = b.failures, since = b.since, open_until = b.open_until, opened = b.opened,
        probe_id = NULL, probe_lease = NULL, error = coalesce(failed, k.error)
    WHERE k.name = breaker;
END $$;

-- The roles of 0004, where they exist: another user may have to make them.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    app CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_app');
    owner CONSTANT boolean := EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = s || '_owner'
        AND pg_catalog.pg_has_role(current_user, oid, 'MEMBER'));
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['job_limits', 'job_locks', 'job_breakers'] LOOP
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
    FOR name IN SELECT p.oid::regprocedure FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = s AND p.proname IN ('job_leased', 'job_admit', 'job_lock', 'job_unlock', 'job_breaker_enter', 'job_breaker_report')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', name);
        IF app THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', name, s || '_app');
        END IF;
        IF owner THEN
            EXECUTE format('ALTER FUNCTION %s OWNER TO %I', name, s || '_owner');
        END IF;
    END LOOP;
END $$;

-- Three roles to grant to logins: <schema>_owner migrates, <schema>_app runs producers, consumers
-- and the warren program, <schema>_read looks. Roles belong to the whole server, so that another
-- database may have made them, or make them right now. A user who may not create roles still
-- gets the tables: grants are then the administrator's business.
DO $$
DECLARE
    s CONSTANT text := @schema_text@;
    r text;
    o record;
BEGIN
    IF length(s) > 57 THEN
        RAISE NOTICE 'the name of schema % is too long to derive names of roles from it; none were made', s;
        RETURN;
    END IF;
    FOREACH r IN ARRAY ARRAY[s || '_owner', s || '_app', s || '_read'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = r) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', r);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % was not made: % may not create roles', r, current_user;
                RETURN;
        END;
    END LOOP;

    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', s, s || '_app', s || '_read');
    EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', s, s || '_owner');
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %I TO %I', s, s || '_app');
    EXECUTE format('REVOKE INSERT, UPDATE, DELETE ON %I.schema_migrations FROM %I', s, s || '_app');
    EXECUTE format('GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', s, s || '_app');
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', s, s || '_read');
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA %I FROM PUBLIC', s);
    EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA %I TO %I', s, s || '_app');

    -- The tables go to <schema>_owner only when this user can act as it, so that whoever migrates
    -- today can migrate again tomorrow.
    IF NOT pg_catalog.pg_has_role(current_user, s || '_owner', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT %I TO %I', s || '_owner', current_user);
        EXCEPTION
            WHEN unique_violation OR duplicate_object OR internal_error THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'the tables stay with %, who is no member of %', current_user, s || '_owner';
                RETURN;
        END;
    END IF;
    FOR o IN SELECT c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = s AND c.relkind IN ('r', 'p', 'S') AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND c.relkind = 'S')
    LOOP
        EXECUTE format('ALTER %s %I.%I OWNER TO %I', CASE o.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, s, o.relname, s || '_owner');
    END LOOP;
    FOR o IN SELECT p.oid::regprocedure AS signature FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = s
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', o.signature, s || '_owner');
    END LOOP;
    EXECUTE format('ALTER SCHEMA %I OWNER TO %I', s, s || '_owner');
END $$;

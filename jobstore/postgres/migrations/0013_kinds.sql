-- What consumers say of their kinds when they start, and what operators say of them.
ALTER TABLE @schema@.kinds
    ADD COLUMN title           text        NOT NULL DEFAULT '',
    ADD COLUMN description     text        NOT NULL DEFAULT '',
    ADD COLUMN scope           text        NOT NULL DEFAULT '',
    ADD COLUMN version         text        NOT NULL DEFAULT '',   -- of the program whose words these are
    ADD COLUMN versions        text[]      NOT NULL DEFAULT '{}', -- of the programs that had a word, the last 20
    ADD COLUMN args_schema     jsonb,
    ADD COLUMN defaults        jsonb,                             -- settings, as the program has them
    ADD COLUMN settings_schema jsonb,
    ADD COLUMN settings        jsonb,                             -- those that operators have set
    ADD COLUMN hidden          boolean     NOT NULL DEFAULT false,
    ADD COLUMN position        int         NOT NULL DEFAULT 0,
    ADD COLUMN first_seen      timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN last_seen       timestamptz NOT NULL DEFAULT now();

-- Grows with each edit of settings of kinds. Heartbeats bring it, so that consumers know when to look.
ALTER TABLE @schema@.settings ADD COLUMN kinds_edition bigint NOT NULL DEFAULT 0;

-- A kind that is disabled is not merely paused: a resume does not let it go on.
ALTER TABLE @schema@.job_pauses ADD COLUMN reason text NOT NULL DEFAULT '';
ALTER TABLE @schema@.job_pauses DROP CONSTRAINT job_pauses_of_check;
ALTER TABLE @schema@.job_pauses ADD CONSTRAINT job_pauses_of_check CHECK (of IN ('all', 'kind', 'group', 'disabled'));

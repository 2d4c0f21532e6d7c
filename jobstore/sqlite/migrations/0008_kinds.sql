-- What consumers say of their kinds when they start, and what operators say of them.
ALTER TABLE warren_kinds ADD COLUMN title TEXT NOT NULL DEFAULT '';
ALTER TABLE warren_kinds ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE warren_kinds ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE warren_kinds ADD COLUMN version TEXT NOT NULL DEFAULT '';        -- of the program whose words these are
ALTER TABLE warren_kinds ADD COLUMN versions TEXT NOT NULL DEFAULT '[]';     -- of the programs that had a word, the last 20
ALTER TABLE warren_kinds ADD COLUMN args_schema TEXT;
ALTER TABLE warren_kinds ADD COLUMN defaults TEXT;                           -- settings, as the program has them
ALTER TABLE warren_kinds ADD COLUMN settings_schema TEXT;
ALTER TABLE warren_kinds ADD COLUMN settings TEXT;                           -- those that operators have set
ALTER TABLE warren_kinds ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
ALTER TABLE warren_kinds ADD COLUMN position INTEGER NOT NULL DEFAULT 0;
ALTER TABLE warren_kinds ADD COLUMN first_seen TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000Z';
ALTER TABLE warren_kinds ADD COLUMN last_seen TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000Z';

-- Grows with each edit of settings of kinds. Heartbeats bring it, so that consumers know when to look.
ALTER TABLE warren_settings ADD COLUMN kinds_edition INTEGER NOT NULL DEFAULT 0;

-- A kind that is disabled is not merely paused: a resume does not let it go on. A CHECK cannot be altered.
CREATE TABLE pauses_new (
    of        TEXT NOT NULL CHECK (of IN ('all', 'kind', 'group', 'disabled')),
    name      TEXT NOT NULL DEFAULT '',
    until     TEXT NOT NULL DEFAULT '9999-12-31T23:59:59.999Z', -- the pause is over by itself then
    paused_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    reason    TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (of, name)
) STRICT, WITHOUT ROWID;
INSERT INTO pauses_new (of, name, until, paused_at) SELECT of, name, until, paused_at FROM job_pauses;
DROP TABLE job_pauses;
ALTER TABLE pauses_new RENAME TO job_pauses;

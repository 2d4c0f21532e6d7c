-- What operators have paused besides queues: a kind, a serial group, or everything.
CREATE TABLE job_pauses (
    of        TEXT NOT NULL CHECK (of IN ('all', 'kind', 'group')),
    name      TEXT NOT NULL DEFAULT '',
    until     TEXT NOT NULL DEFAULT '9999-12-31T23:59:59.999Z', -- the pause is over by itself then
    paused_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    PRIMARY KEY (of, name)
) STRICT, WITHOUT ROWID;

-- A consumer that goes on while everything is paused.
ALTER TABLE warren_consumers ADD COLUMN force INTEGER NOT NULL DEFAULT 0;

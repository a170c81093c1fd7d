-- The log for a relay under load: sequence numbers from one counter (also on an engine with many
-- writers), indexes that carry what filters ask for beside their order, words for NIP-50, and
-- requests to vanish (NIP-62).

CREATE TABLE position (
    name TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO position (name, seq)
SELECT 'log', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0);

CREATE TABLE event_new (
    seq        INTEGER PRIMARY KEY,
    id         BLOB NOT NULL UNIQUE,
    pubkey     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    expires    INTEGER,
    address    TEXT,
    json       BLOB NOT NULL
) STRICT;
INSERT INTO event_new SELECT seq, id, pubkey, created_at, kind, expires, address, json FROM event;
DROP TABLE event;
ALTER TABLE event_new RENAME TO event;
CREATE INDEX event_by_author ON event (pubkey, created_at, kind);
CREATE INDEX event_by_kind ON event (kind, created_at, pubkey);
CREATE INDEX event_by_time ON event (created_at);
CREATE UNIQUE INDEX event_by_address ON event (address) WHERE address IS NOT NULL;
CREATE INDEX event_by_expiry ON event (expires) WHERE expires IS NOT NULL;

CREATE TABLE tag_new (
    hash       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    PRIMARY KEY (hash, created_at, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO tag_new
SELECT tag.hash, tag.created_at, tag.seq, event.kind FROM tag JOIN event ON event.seq = tag.seq;
DROP TABLE tag;
ALTER TABLE tag_new RENAME TO tag;

-- Words of events whose kind people search, split and lower-cased by hanse.protocol.words. `ascii`
-- takes them as they are: `unicode61` would fold some again, and split others.
CREATE VIRTUAL TABLE event_text USING fts5 (
    words, content = '', contentless_delete = 1,
    tokenize = "ascii"
);

-- Authors who asked to vanish: nothing of theirs up to this time may come back.
CREATE TABLE vanished (
    pubkey BLOB PRIMARY KEY,
    until  INTEGER NOT NULL,
    done   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX vanishing ON vanished (pubkey) WHERE done = 0;

-- Which of the nodes that share a database runs a call.
ALTER TABLE call ADD COLUMN holder TEXT NOT NULL DEFAULT '';

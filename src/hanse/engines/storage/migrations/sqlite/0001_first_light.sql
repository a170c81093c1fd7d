-- The log. `seq` is never reused; `address` is set for replaceable and addressable kinds
-- (kind:pubkey:d); `expires` is NIP-40's time.
CREATE TABLE event (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB NOT NULL UNIQUE,
    pubkey     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    expires    INTEGER,
    address    TEXT,
    json       BLOB NOT NULL
) STRICT;
CREATE INDEX event_by_author ON event (pubkey, kind, created_at);
CREATE INDEX event_by_kind ON event (kind, created_at);
CREATE INDEX event_by_time ON event (created_at);
CREATE UNIQUE INDEX event_by_address ON event (address) WHERE address IS NOT NULL;
CREATE INDEX event_by_expiry ON event (expires) WHERE expires IS NOT NULL;

-- Single-letter tags. `hash` is 64 bits of keyed blake2b over name and value: the key is this
-- database's own, so nobody can make two values collide.
CREATE TABLE tag (
    hash       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    PRIMARY KEY (hash, created_at, seq)
) STRICT, WITHOUT ROWID;

-- What NIP-09 deletions forbid: an event id or an address, by its author, up to a time.
CREATE TABLE tombstone (
    target TEXT NOT NULL,
    pubkey BLOB NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (target, pubkey)
) STRICT, WITHOUT ROWID;

-- Values this database needs to know about itself.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledger. Debits and credits, pending and posted, in msat. Only an issue account may owe.
CREATE TABLE account (
    id     INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE,
    kind   TEXT NOT NULL CHECK (kind IN ('agent', 'escrow', 'fees', 'issue')),
    debits_pending  INTEGER NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    debits_posted   INTEGER NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_pending INTEGER NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    credits_posted  INTEGER NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    CHECK (kind = 'issue' OR debits_pending + debits_posted <= credits_posted)
) STRICT;

-- kind: 0 single, 1 pending, 2 post, 3 void, 4 expire. Rows never change.
CREATE TABLE transfer (
    id      BLOB PRIMARY KEY,
    debit   INTEGER NOT NULL REFERENCES account,
    credit  INTEGER NOT NULL REFERENCES account,
    amount  INTEGER NOT NULL CHECK (amount >= 0),
    kind    INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 4),
    pending BLOB REFERENCES transfer,
    memo    TEXT NOT NULL DEFAULT '',
    at_ms   INTEGER NOT NULL,
    CHECK (debit <> credit),
    CHECK ((kind >= 2) = (pending IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX transfer_resolves_once ON transfer (pending) WHERE pending IS NOT NULL;
CREATE TRIGGER transfer_never_changes BEFORE UPDATE ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER transfer_never_goes BEFORE DELETE ON transfer
BEGIN SELECT RAISE(ABORT, 'a transfer never goes'); END;

-- Calls: one row each, opened with its hold and closed with its settlement, in one commit each.
CREATE TABLE call (
    id            BLOB PRIMARY KEY,
    caller        TEXT NOT NULL,
    operator      TEXT NOT NULL,
    provider      TEXT NOT NULL,
    offer         TEXT NOT NULL,
    capability    TEXT NOT NULL,
    fingerprint   BLOB NOT NULL,
    input_sha256  TEXT NOT NULL,
    price_msat    INTEGER NOT NULL,
    fee_msat      INTEGER NOT NULL,
    deadline_ms   INTEGER NOT NULL,
    opened_ms     INTEGER NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('open', 'settled', 'refunded')),
    fault         TEXT,
    detail        TEXT NOT NULL DEFAULT '',
    latency_ms    INTEGER,
    closed_ms     INTEGER,
    output        BLOB,
    output_sha256 TEXT,
    delivery      TEXT,
    receipt       BLOB
) STRICT;
CREATE INDEX call_open ON call (opened_ms) WHERE state = 'open';
CREATE INDEX call_closed ON call (closed_ms) WHERE state <> 'open';
CREATE INDEX call_by_receipt ON call (receipt) WHERE receipt IS NOT NULL;

-- The offers' view of the log. It can be thrown away: `view.seq` says how far it has read.
CREATE TABLE view (
    name TEXT PRIMARY KEY,
    seq  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE offer (
    address    TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL,
    identifier TEXT NOT NULL,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires    INTEGER,
    document   BLOB NOT NULL
) STRICT;
CREATE INDEX offer_by_identifier ON offer (identifier);
CREATE INDEX offer_by_name ON offer (name);
CREATE INDEX offer_by_time ON offer (created_at);
CREATE TABLE capability (
    id      INTEGER PRIMARY KEY,
    address TEXT NOT NULL REFERENCES offer ON DELETE CASCADE,
    name    TEXT NOT NULL
) STRICT;
CREATE INDEX capability_by_offer ON capability (address);
CREATE VIRTUAL TABLE capability_text USING fts5 (
    name, description, offer, inputs,
    tokenize = 'porter unicode61 remove_diacritics 2'
);

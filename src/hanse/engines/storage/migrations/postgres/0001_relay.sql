-- The schema of SQLite's migrations up to 0002, as PostgreSQL says it.

CREATE TABLE position (
    name text PRIMARY KEY,
    seq  bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO position (name, seq) VALUES ('log', 0);

CREATE TABLE event (
    seq        bigint PRIMARY KEY,
    id         bytea NOT NULL UNIQUE,
    pubkey     bytea NOT NULL,
    created_at bigint NOT NULL,
    kind       integer NOT NULL,
    expires    bigint,
    address    text COLLATE "C",
    json       bytea NOT NULL
);
-- Events are signed text that barely compresses; to try costs more than it saves.
ALTER TABLE event ALTER COLUMN json SET STORAGE EXTERNAL;
CREATE INDEX event_by_author ON event (pubkey, created_at, kind);
CREATE INDEX event_by_kind ON event (kind, created_at, pubkey);
CREATE INDEX event_by_time ON event (created_at);
CREATE UNIQUE INDEX event_by_address ON event (address) WHERE address IS NOT NULL;
CREATE INDEX event_by_expiry ON event (expires) WHERE expires IS NOT NULL;

CREATE TABLE tag (
    hash       bigint NOT NULL,
    created_at bigint NOT NULL,
    seq        bigint NOT NULL,
    kind       integer NOT NULL,
    PRIMARY KEY (hash, created_at, seq) INCLUDE (kind)
);

CREATE TABLE event_text (
    seq   bigint PRIMARY KEY,
    words tsvector NOT NULL
);
CREATE INDEX event_text_words ON event_text USING gin (words);

CREATE TABLE tombstone (
    target text COLLATE "C" NOT NULL,
    pubkey bytea NOT NULL,
    until  bigint NOT NULL,
    PRIMARY KEY (target, pubkey)
);

CREATE TABLE vanished (
    pubkey bytea PRIMARY KEY,
    until  bigint NOT NULL,
    done   integer NOT NULL
);
CREATE INDEX vanishing ON vanished (pubkey) WHERE done = 0;

CREATE TABLE meta (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);

CREATE TABLE account (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL UNIQUE,
    kind   text NOT NULL CHECK (kind IN ('agent', 'escrow', 'fees', 'issue')),
    debits_pending  bigint NOT NULL DEFAULT 0 CHECK (debits_pending >= 0),
    debits_posted   bigint NOT NULL DEFAULT 0 CHECK (debits_posted >= 0),
    credits_pending bigint NOT NULL DEFAULT 0 CHECK (credits_pending >= 0),
    credits_posted  bigint NOT NULL DEFAULT 0 CHECK (credits_posted >= 0),
    CHECK (kind = 'issue' OR debits_pending + debits_posted <= credits_posted)
);

CREATE TABLE transfer (
    id      bytea PRIMARY KEY,
    debit   bigint NOT NULL REFERENCES account,
    credit  bigint NOT NULL REFERENCES account,
    amount  bigint NOT NULL CHECK (amount >= 0),
    kind    integer NOT NULL CHECK (kind BETWEEN 0 AND 4),
    pending bytea REFERENCES transfer,
    memo    text NOT NULL DEFAULT '',
    at_ms   bigint NOT NULL,
    CHECK (debit <> credit),
    CHECK ((kind >= 2) = (pending IS NOT NULL))
);
CREATE UNIQUE INDEX transfer_resolves_once ON transfer (pending) WHERE pending IS NOT NULL;
CREATE FUNCTION transfer_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a transfer never changes or goes' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER transfer_never_changes BEFORE UPDATE OR DELETE ON transfer
FOR EACH ROW EXECUTE FUNCTION transfer_stays();
CREATE TRIGGER transfers_never_go BEFORE TRUNCATE ON transfer
FOR EACH STATEMENT EXECUTE FUNCTION transfer_stays();

CREATE TABLE call (
    id            bytea PRIMARY KEY,
    caller        text NOT NULL,
    operator      text NOT NULL,
    provider      text NOT NULL,
    offer         text NOT NULL,
    capability    text NOT NULL,
    fingerprint   bytea NOT NULL,
    input_sha256  text NOT NULL,
    price_msat    bigint NOT NULL,
    fee_msat      bigint NOT NULL,
    deadline_ms   bigint NOT NULL,
    opened_ms     bigint NOT NULL,
    state         text NOT NULL CHECK (state IN ('open', 'settled', 'refunded')),
    fault         text,
    detail        text NOT NULL DEFAULT '',
    latency_ms    bigint,
    closed_ms     bigint,
    output        bytea,
    output_sha256 text,
    delivery      text,
    receipt       bytea,
    holder        text NOT NULL DEFAULT ''
);
CREATE INDEX call_open ON call (opened_ms) WHERE state = 'open';
CREATE INDEX call_closed ON call (closed_ms) WHERE state <> 'open';
CREATE INDEX call_by_receipt ON call (receipt) WHERE receipt IS NOT NULL;

CREATE TABLE view (
    name text PRIMARY KEY,
    seq  bigint NOT NULL
);
CREATE TABLE offer (
    address    text COLLATE "C" PRIMARY KEY,
    seq        bigint NOT NULL,
    identifier text NOT NULL,
    name       text NOT NULL,
    created_at bigint NOT NULL,
    expires    bigint,
    document   bytea NOT NULL
);
CREATE INDEX offer_by_identifier ON offer (identifier);
CREATE INDEX offer_by_name ON offer (name);
CREATE INDEX offer_by_time ON offer (created_at);
CREATE TABLE capability (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address text COLLATE "C" NOT NULL REFERENCES offer ON DELETE CASCADE,
    name    text NOT NULL
);
CREATE INDEX capability_by_offer ON capability (address);
CREATE TABLE capability_text (
    id    bigint PRIMARY KEY,
    words tsvector NOT NULL
);
CREATE INDEX capability_text_words ON capability_text USING gin (words);

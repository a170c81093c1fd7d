-- What trust is computed from: a view of the log. `name` is an event's address, or its id if it has
-- none; `source` is the key it is about.
CREATE TABLE trust_event (
    name       text COLLATE "C" PRIMARY KEY,
    seq        bigint NOT NULL,
    kind       bigint NOT NULL,
    author     text COLLATE "C" NOT NULL,
    operator   text COLLATE "C" NOT NULL,
    source     text COLLATE "C" NOT NULL,
    domain     text NOT NULL,
    created_at bigint NOT NULL,
    expires    bigint NOT NULL,
    id         text NOT NULL,
    document   bytea NOT NULL
);
CREATE INDEX trust_event_by_author ON trust_event (author, kind, created_at);
CREATE INDEX trust_event_by_pair ON trust_event (author, source, kind, created_at);
CREATE INDEX trust_event_by_source ON trust_event (source, kind, created_at);
CREATE INDEX trust_event_by_operator ON trust_event (operator, author) WHERE operator <> author;
CREATE INDEX trust_event_by_end ON trust_event (expires);
CREATE INDEX trust_event_by_kind ON trust_event (kind, author, created_at, id);

-- Follow lists, one row for each key that one names.
CREATE TABLE trust_follow (
    author text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    PRIMARY KEY (source, author)
);
CREATE INDEX trust_follow_by_author ON trust_follow (author);

-- Whose endorsements or keys changed, and at which number of the log: what a reader in memory has
-- to read again.
CREATE TABLE trust_change (
    author text COLLATE "C" PRIMARY KEY,
    seq    bigint NOT NULL
);
CREATE INDEX trust_change_by_seq ON trust_change (seq);

-- Signed requests that were used (NIP-98), until none of them is good any more.
CREATE TABLE used_proof (
    id   BLOB PRIMARY KEY,
    at_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX used_proof_by_time ON used_proof (at_s);

-- Signed requests that were used (NIP-98), until none of them is good any more.
CREATE TABLE used_proof (
    id   bytea PRIMARY KEY,
    at_s bigint NOT NULL
);

CREATE INDEX used_proof_by_time ON used_proof (at_s);

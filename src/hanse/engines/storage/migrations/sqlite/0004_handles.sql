-- Names this node answers for (NIP-05), as its operator gave them.
CREATE TABLE handle (
    name   TEXT PRIMARY KEY,
    pubkey TEXT NOT NULL
) STRICT, WITHOUT ROWID;

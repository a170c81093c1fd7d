-- Names this node answers for (NIP-05), as its operator gave them.
CREATE TABLE handle (
    name   text COLLATE "C" PRIMARY KEY,
    pubkey text NOT NULL
);

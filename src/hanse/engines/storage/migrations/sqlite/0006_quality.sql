-- Measured quality. What a call needs to be counted under: the version of the offer, and the
-- operator who answers for its provider.
ALTER TABLE call ADD COLUMN version TEXT NOT NULL DEFAULT '1.0.0';
ALTER TABLE call ADD COLUMN payee TEXT NOT NULL DEFAULT '';

-- Tallies: how one payer's calls in one hour or day ended. A view of the calls, in the order of
-- their receipts in the log; `view.seq` says how far. `source` is empty for this node's own calls,
-- else the node that signed receipts of its own.
CREATE TABLE quality (
    address    TEXT NOT NULL,
    capability TEXT NOT NULL,
    major      INTEGER NOT NULL,
    source     TEXT NOT NULL,
    payer      TEXT NOT NULL,
    span       INTEGER NOT NULL,
    slot       INTEGER NOT NULL,
    tally      BLOB NOT NULL,
    PRIMARY KEY (source, address, capability, major, payer, span, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX quality_by_slot ON quality (span, slot);

-- What operators paid each other, and which operator each agent was last seen with.
CREATE TABLE trade (
    payer    TEXT NOT NULL,
    payee    TEXT NOT NULL,
    paid     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (payer, payee)
) STRICT, WITHOUT ROWID;
CREATE TABLE trader (
    agent    TEXT PRIMARY KEY,
    operator TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What came in from outside for each account.
CREATE TABLE outside (
    account TEXT PRIMARY KEY,
    msat    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO outside (account, msat)
SELECT account.name, sum(transfer.amount)
FROM transfer JOIN account ON account.id = transfer.credit
WHERE transfer.debit IN (SELECT id FROM account WHERE kind = 'issue') AND transfer.kind = 0
GROUP BY account.name;

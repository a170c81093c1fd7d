-- Measured quality. What a call needs to be counted under: the version of the offer, and the
-- operator who answers for its provider.
ALTER TABLE call ADD COLUMN version text NOT NULL DEFAULT '1.0.0';
ALTER TABLE call ADD COLUMN payee text NOT NULL DEFAULT '';

-- Tallies: how one payer's calls in one hour or day ended. A view of the calls, in the order of
-- their receipts in the log; `view.seq` says how far. `source` is empty for this node's own calls,
-- else the node that signed receipts of its own.
CREATE TABLE quality (
    address    text COLLATE "C" NOT NULL,
    capability text COLLATE "C" NOT NULL,
    major      bigint NOT NULL,
    source     text COLLATE "C" NOT NULL,
    payer      text COLLATE "C" NOT NULL,
    span       bigint NOT NULL,
    slot       bigint NOT NULL,
    tally      bytea NOT NULL,
    PRIMARY KEY (source, address, capability, major, payer, span, slot)
);
CREATE INDEX quality_by_slot ON quality (span, slot);

-- What operators paid each other, and which operator each agent was last seen with.
CREATE TABLE trade (
    payer    text COLLATE "C" NOT NULL,
    payee    text COLLATE "C" NOT NULL,
    paid     bigint NOT NULL,
    received bigint NOT NULL,
    PRIMARY KEY (payer, payee)
);
CREATE TABLE trader (
    agent    text COLLATE "C" PRIMARY KEY,
    operator text COLLATE "C" NOT NULL
);

-- What came in from outside for each account.
CREATE TABLE outside (
    account text COLLATE "C" PRIMARY KEY,
    msat    bigint NOT NULL
);
INSERT INTO outside (account, msat)
SELECT account.name, sum(transfer.amount)
FROM transfer JOIN account ON account.id = transfer.credit
WHERE transfer.debit IN (SELECT id FROM account WHERE kind = 'issue') AND transfer.kind = 0
GROUP BY account.name;

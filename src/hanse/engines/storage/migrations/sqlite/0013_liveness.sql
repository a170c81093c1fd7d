-- When each provider of an offer was last connected.
CREATE TABLE seen (
    provider TEXT PRIMARY KEY,
    at_s     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How free probe calls ended: `end` as a call's, or 'unlike-its-example'.
CREATE TABLE probe (
    address    TEXT NOT NULL,
    capability TEXT NOT NULL,
    at_s       INTEGER NOT NULL,
    major      INTEGER NOT NULL,
    "end"      TEXT NOT NULL,
    PRIMARY KEY (address, capability, at_s)
) STRICT, WITHOUT ROWID;
CREATE INDEX probe_by_time ON probe (at_s);

-- What a call cost, since when.
CREATE TABLE price (
    address    TEXT NOT NULL,
    capability TEXT NOT NULL,
    at_s       INTEGER NOT NULL,
    msat       INTEGER NOT NULL,
    PRIMARY KEY (address, capability, at_s)
) STRICT, WITHOUT ROWID;
CREATE INDEX price_by_time ON price (at_s);

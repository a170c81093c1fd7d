-- When each provider of an offer was last connected.
CREATE TABLE seen (
    provider text COLLATE "C" PRIMARY KEY,
    at_s     bigint NOT NULL
);

-- How free probe calls ended: `end` as a call's, or 'unlike-its-example'.
CREATE TABLE probe (
    address    text COLLATE "C" NOT NULL,
    capability text COLLATE "C" NOT NULL,
    at_s       bigint NOT NULL,
    major      bigint NOT NULL,
    "end"      text NOT NULL,
    PRIMARY KEY (address, capability, at_s)
);
CREATE INDEX probe_by_time ON probe (at_s);

-- What a call cost, since when.
CREATE TABLE price (
    address    text COLLATE "C" NOT NULL,
    capability text COLLATE "C" NOT NULL,
    at_s       bigint NOT NULL,
    msat       bigint NOT NULL,
    PRIMARY KEY (address, capability, at_s)
);
CREATE INDEX price_by_time ON price (at_s);

-- name: seen_set
INSERT INTO seen (provider, at_s) VALUES ($1, $2)
ON CONFLICT (provider) DO UPDATE SET at_s = excluded.at_s WHERE seen.at_s < excluded.at_s;

-- name: seen_list
SELECT provider, at_s FROM seen LIMIT $1;

-- name: seen_drop
DELETE FROM seen WHERE at_s < $1;

-- name: probe_add
INSERT INTO probe (address, capability, at_s, major, "end") VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (address, capability, at_s) DO NOTHING;

-- name: probe_list
SELECT address, capability, at_s, major, "end" FROM probe ORDER BY at_s DESC LIMIT $1;

-- name: probes_drop
DELETE FROM probe WHERE at_s < $1;

-- name: price_last
SELECT msat, at_s FROM price WHERE address = $1 AND capability = $2 ORDER BY at_s DESC LIMIT 1;

-- name: price_add
INSERT INTO price (address, capability, at_s, msat) VALUES ($1, $2, $3, $4)
ON CONFLICT (address, capability, at_s) DO UPDATE SET msat = excluded.msat;

-- name: prices_changed
-- All prices since a time of capabilities that had another one before.
SELECT price.address, price.capability, price.at_s, price.msat,
       (SELECT older.msat FROM price AS older
        WHERE older.address = price.address AND older.capability = price.capability
              AND older.at_s < price.at_s ORDER BY older.at_s DESC LIMIT 1)
FROM price WHERE price.at_s >= $1 AND EXISTS (
    SELECT 1 FROM price AS older
    WHERE older.address = price.address AND older.capability = price.capability
          AND older.at_s < price.at_s
) ORDER BY price.at_s DESC LIMIT $2;

-- name: prices_drop
-- Old prices, but not the last one before a time: a change is told from it.
DELETE FROM price WHERE at_s < $1 AND EXISTS (
    SELECT 1 FROM price AS newer
    WHERE newer.address = price.address AND newer.capability = price.capability
          AND newer.at_s > price.at_s
);

-- name: offers_page
SELECT address, document FROM offer WHERE address > $1 AND (expires IS NULL OR expires > $2)
ORDER BY address LIMIT $3;

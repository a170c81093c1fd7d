-- name: view_seq
SELECT seq FROM view WHERE name = $1;

-- name: view_set
INSERT INTO view (name, seq) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq;

-- name: offer_upsert
INSERT INTO offer (address, seq, identifier, name, created_at, expires, document)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (address) DO UPDATE SET seq = excluded.seq, identifier = excluded.identifier,
    name = excluded.name, created_at = excluded.created_at, expires = excluded.expires,
    document = excluded.document;

-- name: offer_delete
DELETE FROM offer WHERE address = $1;

-- name: offer_get
SELECT document FROM offer WHERE address = $1 AND (expires IS NULL OR expires > $2);

-- name: offers_named
SELECT document FROM offer
WHERE (identifier = $1 OR name = $1) AND (expires IS NULL OR expires > $2)
ORDER BY created_at DESC LIMIT 10;

-- name: offers_newest
SELECT document FROM offer WHERE expires IS NULL OR expires > $1
ORDER BY created_at DESC LIMIT $2;

-- name: offer_count
SELECT count(*) FROM offer WHERE expires IS NULL OR expires > $1;

-- name: capabilities_of
SELECT id FROM capability WHERE address = $1;

-- name: capability_insert
INSERT INTO capability (address, name) VALUES ($1, $2) RETURNING id;

-- name: capability_delete
DELETE FROM capability WHERE id = $1;

-- name: offer_addresses
SELECT address FROM offer;

-- name: offers_of
-- Those of one author: addresses between `kind:pubkey:` and the next character after the colon.
SELECT address FROM offer WHERE address >= $1 AND address < $2;

-- name: offers_gone
-- Offers whose event the log does not keep any more.
SELECT offer.address FROM offer LEFT JOIN event ON event.address = offer.address
WHERE event.address IS NULL;

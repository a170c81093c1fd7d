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

-- name: offer_count
SELECT count(*) FROM offer WHERE expires IS NULL OR expires > $1;

-- name: offers_by_seq
SELECT seq, expires, document FROM offer WHERE seq IN ($values);

-- name: offers_at
SELECT address, seq, expires, document FROM offer WHERE address IN ($values);

-- name: offers_after
SELECT seq, expires, document FROM offer WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: offers_made
-- The events of the offers in this view, in the order of the log.
SELECT event.seq, event.json FROM offer JOIN event ON event.seq = offer.seq
WHERE offer.seq > $1 ORDER BY offer.seq LIMIT $2;

-- name: offer_addresses
SELECT address FROM offer;

-- name: offers_of
-- Those of one author: addresses between `kind:pubkey:` and the next character after the colon.
SELECT address FROM offer WHERE address >= $1 AND address < $2;

-- name: offers_gone
-- Offers whose event the log does not keep any more.
SELECT offer.address FROM offer LEFT JOIN event ON event.address = offer.address
WHERE event.address IS NULL;

-- name: lessons_after
-- What paid calls taught, in the order of their receipts. The plus keeps the planner off the index
-- of kinds.
SELECT event.seq, call.id, call.offer, call.capability, call.words, call.operator, call.payee,
       call.provider, call.state, call.closed_ms
FROM event JOIN call ON call.receipt = event.id
WHERE event.seq > $1 AND event.seq <= $2 AND +event.kind = 2402
  AND call.words <> '' AND call.price_msat > 0
  AND (call.fault IS NULL OR call.fault NOT IN ('deadline-below-promise', 'node-stopped'))
ORDER BY event.seq LIMIT $3;

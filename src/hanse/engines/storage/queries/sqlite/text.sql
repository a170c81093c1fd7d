-- name: text_insert
INSERT INTO event_text (rowid, words) VALUES ($1, $2);

-- name: text_delete
DELETE FROM event_text WHERE rowid = $1;

-- name: capability_text_insert
INSERT INTO capability_text (rowid, name, description, offer, inputs) VALUES ($1, $2, $3, $4, $5);

-- name: capability_text_delete
DELETE FROM capability_text WHERE rowid = $1;

-- name: capability_search
-- Best first. The weights say where a word counts: the name most, an input's name least.
SELECT capability.name, offer.address,
       -bm25(capability_text, 6.0, 3.0, 2.0, 1.0) AS score
FROM capability_text
JOIN capability ON capability.id = capability_text.rowid
JOIN offer ON offer.address = capability.address
WHERE capability_text MATCH $1 AND (offer.expires IS NULL OR offer.expires > $2)
ORDER BY score DESC LIMIT $3;

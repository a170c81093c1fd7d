-- name: capability_text_insert
-- Weights as SQLite's bm25 has them: the name most, an input's name least.
INSERT INTO capability_text (id, words)
VALUES ($1, setweight(to_tsvector('english', $2), 'A') || setweight(to_tsvector('english', $3), 'B')
         || setweight(to_tsvector('english', $4), 'C') || setweight(to_tsvector('english', $5), 'D'));

-- name: capability_text_delete
DELETE FROM capability_text WHERE id = $1;

-- name: capability_search
SELECT capability.name, offer.address,
       ts_rank('{0.17, 0.33, 0.5, 1.0}', capability_text.words,
               websearch_to_tsquery('english', $1))::float8 AS score
FROM capability_text
JOIN capability ON capability.id = capability_text.id
JOIN offer ON offer.address = capability.address
WHERE capability_text.words @@ websearch_to_tsquery('english', $1)
  AND (offer.expires IS NULL OR offer.expires > $2)
ORDER BY score DESC LIMIT $3;

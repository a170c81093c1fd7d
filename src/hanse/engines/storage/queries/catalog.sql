-- name: catalog_page
-- Live offers, newest first, from after one on.
SELECT document, created_at, address FROM offer
WHERE (created_at, address) < ($1, $2) AND created_at >= $3 AND (expires IS NULL OR expires > $4)
ORDER BY created_at DESC, address DESC LIMIT $5;

-- name: catalog_of_provider
-- Live offers of one author: addresses between `kind:pubkey:` and the next character after the colon.
SELECT document FROM offer
WHERE address >= $1 AND address < $2 AND (expires IS NULL OR expires > $3)
ORDER BY address LIMIT $4;

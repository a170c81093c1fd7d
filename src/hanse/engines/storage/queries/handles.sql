-- name: handle_get
SELECT name, pubkey, operator, until, moved, said, statement FROM handle WHERE name = $1;

-- name: handle_list
SELECT name, pubkey, operator, until, moved, said, statement FROM handle ORDER BY name;

-- name: handle_count
SELECT count(*) FROM handle;

-- name: handle_claimed_count
SELECT count(*) FROM handle WHERE until > 0;

-- name: handle_claimed_by
SELECT count(*) FROM handle WHERE operator = $1 AND until > 0;

-- name: handle_like
SELECT name, pubkey, operator FROM handle WHERE shape = $1;

-- name: handle_unshaped
SELECT name FROM handle WHERE shape = '' AND name <> '';

-- name: handle_shape
UPDATE handle SET shape = $1 WHERE name = $2;

-- name: handle_insert
INSERT INTO handle (name, pubkey, shape, operator, until, moved, said, statement, signer)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: handle_update
UPDATE handle SET operator = $1, until = $2, moved = $3, said = $4, statement = $5, signer = $6
WHERE name = $7;

-- name: handle_renew
UPDATE handle SET until = $1 WHERE name = $2 AND pubkey = $3 AND until > 0 AND until < $1;

-- name: handle_keep
UPDATE handle SET until = 0 WHERE name = $1 AND until > 0;

-- name: handle_lapsed
SELECT name, pubkey, operator, until, moved, said, statement FROM handle
WHERE until > 0 AND until < $1 ORDER BY until LIMIT $2;

-- name: handle_delete
DELETE FROM handle WHERE name = $1 RETURNING name;

-- name: handle_vanish
-- What a key claimed up to a time goes with all else it wrote.
DELETE FROM handle WHERE signer = $1 AND said <= $2 AND until > 0;

-- name: handle_silence
-- What the operator gave stays, without what its key said of it.
UPDATE handle SET moved = '', statement = $1, signer = '' WHERE signer = $2 AND said <= $3;

-- name: handle_get
SELECT name, pubkey FROM handle WHERE name = $1;

-- name: handle_list
SELECT name, pubkey FROM handle ORDER BY name;

-- name: handle_count
SELECT count(*) FROM handle;

-- name: handle_insert
INSERT INTO handle (name, pubkey) VALUES ($1, $2);

-- name: handle_delete
DELETE FROM handle WHERE name = $1 RETURNING name;

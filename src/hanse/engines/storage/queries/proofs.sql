-- name: proof_take
-- No row if it was taken before.
INSERT INTO used_proof (id, at_s) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING RETURNING at_s;

-- name: proof_forget
DELETE FROM used_proof WHERE at_s < $1;

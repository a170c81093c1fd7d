-- name: moderation_all
-- Read once, at start: the lists are in memory.
SELECT list, item, reason FROM moderation ORDER BY list, item;

-- name: moderation_put
INSERT INTO moderation (list, item, reason) VALUES ($1, $2, $3)
ON CONFLICT (list, item) DO UPDATE SET reason = excluded.reason;

-- name: moderation_remove
DELETE FROM moderation WHERE list = $1 AND item = $2;

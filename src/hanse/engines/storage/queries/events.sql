-- name: event_insert
-- One event of the log. Nothing happens if its id is here already.
INSERT INTO event (id, pubkey, created_at, kind, expires, address, json)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO NOTHING
RETURNING seq;

-- name: event_by_id
SELECT seq, pubkey, created_at, kind, json FROM event WHERE id = $1;

-- name: event_by_address
-- The version of a replaceable or addressable event that is kept.
SELECT seq, id, pubkey, created_at, json FROM event WHERE address = $1;

-- name: event_delete
DELETE FROM event WHERE seq = $1;

-- name: events_after
-- Events of the log in order, for views that follow it.
SELECT seq, json FROM event WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: events_expired
SELECT seq, json FROM event WHERE expires <= $1 LIMIT $2;

-- name: event_last_seq
SELECT coalesce(max(seq), 0) FROM event;

-- name: event_count
SELECT count(*) FROM event;

-- name: tag_insert
INSERT INTO tag (hash, created_at, seq) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: tag_delete
DELETE FROM tag WHERE hash = $1 AND created_at = $2 AND seq = $3;

-- name: tombstone_insert
-- A deletion forbids its target up to the latest time any deletion named.
INSERT INTO tombstone (target, pubkey, until) VALUES ($1, $2, $3)
ON CONFLICT (target, pubkey) DO UPDATE SET until = max(until, excluded.until);

-- name: tombstone_until
-- The latest time up to which an id or an address is forbidden.
SELECT max(until) FROM tombstone WHERE target IN ($1, $2) AND pubkey = $3;

-- name: meta_get
SELECT value FROM meta WHERE name = $1;

-- name: meta_set
INSERT INTO meta (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

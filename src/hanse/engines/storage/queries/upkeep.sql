-- name: events_old
-- What retention looks at: one kind, before a time, oldest first, from a place on.
SELECT seq, id, created_at, kind, address FROM event
WHERE kind = $1 AND created_at < $2 AND (created_at, seq) > ($3, $4)
ORDER BY created_at, seq LIMIT $5;

-- name: events_oldest
SELECT seq, id, created_at, kind, address FROM event
WHERE (created_at, seq) > ($1, $2) ORDER BY created_at, seq LIMIT $3;

-- name: events_at
SELECT seq, json FROM event WHERE seq IN ($values);

-- name: receipts_naming
-- Which of these tag hashes stand on a receipt (kind 2402) of one of our calls: anybody can publish
-- something that looks like one, and must not pin what it names.
SELECT DISTINCT tag.hash FROM tag CROSS JOIN event CROSS JOIN call
WHERE tag.kind = 2402 AND tag.hash IN ($values) AND event.seq = tag.seq AND call.receipt = event.id;

-- name: receipts_booked
-- Which of these events are receipts of our calls.
SELECT receipt FROM call WHERE receipt IN ($values);

-- name: offers_called
-- Which of these offers an open call is about: its receipt will name it.
SELECT DISTINCT offer FROM call WHERE state = 'open' AND offer IN ($values);

-- name: events_up_to
-- Backwards from a number, for words that are filled in.
SELECT seq, json FROM event WHERE seq <= $1 ORDER BY seq DESC LIMIT $2;

-- name: tombstones_count
-- Those whose deletion is not in the log any more: the others are as many as the log has room for.
SELECT count(*) FROM tombstone WHERE alone = 1;

-- name: tombstones_drop
-- The oldest ones.
DELETE FROM tombstone WHERE (target, pubkey) IN (
    SELECT target, pubkey FROM tombstone WHERE alone = 1 ORDER BY seq LIMIT $1
) RETURNING 1;

-- name: vanished_count
SELECT count(*) FROM vanished WHERE alone = 1;

-- name: vanished_drop
DELETE FROM vanished WHERE pubkey IN (
    SELECT pubkey FROM vanished WHERE alone = 1 AND done = 1 ORDER BY until LIMIT $1
) RETURNING 1;

-- name: outputs_drop
-- What calls returned that ended before a time; the calls stay.
UPDATE call SET output = NULL WHERE id IN (
    SELECT id FROM call WHERE output IS NOT NULL AND closed_ms < $1 ORDER BY closed_ms LIMIT $2
) RETURNING 1;

-- name: events_last
SELECT coalesce(max(seq), 0) FROM event;

-- name: events_between
-- A page of the log in its order, for an export.
SELECT seq, json FROM event
WHERE seq > $1 AND seq <= $2 AND (expires IS NULL OR expires > $3) ORDER BY seq LIMIT $4;

-- What is in two parts (see ../../parts.py): events by id, whose first eight bytes lead to them and
-- the rest tells them apart, and by tag, among which their authors stand.

-- name: id_insert
INSERT INTO event_id (part, head, seq) VALUES ($1, $2, $3);

-- name: id_delete
DELETE FROM event_id WHERE part IN (0, 1) AND head = $1 AND seq = $2;

-- name: tag_insert
INSERT INTO tag (part, hash, created_at, seq, kind, expires)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING;

-- name: tag_delete
DELETE FROM tag WHERE part IN (0, 1) AND hash = $1 AND created_at = $2 AND seq = $3;

-- name: id_copy
-- A slice of the small part to the large one.
INSERT INTO event_id (part, head, seq)
SELECT 0, head, seq FROM event_id WHERE part = 1 AND head BETWEEN $1 AND $2 ORDER BY head, seq;

-- name: id_drop
DELETE FROM event_id WHERE part = 1 AND head BETWEEN $1 AND $2;

-- name: slice_renew
-- Before a slice is copied: how new the large part becomes, for each slice that stands in its table.
UPDATE slice SET newest = max(newest, coalesce((
    SELECT max(created_at) FROM tag WHERE part = 1
    AND hash BETWEEN max($1, slice.n << 58) AND min($2, (slice.n << 58) | 0x3FFFFFFFFFFFFFF)
), 0)) WHERE n BETWEEN $1 >> 58 AND $2 >> 58;

-- name: tag_copy
INSERT INTO tag (part, hash, created_at, seq, kind, expires)
SELECT 0, hash, created_at, seq, kind, expires FROM tag WHERE part = 1 AND hash BETWEEN $1 AND $2
ORDER BY hash, created_at, seq;

-- name: tag_drop
DELETE FROM tag WHERE part = 1 AND hash BETWEEN $1 AND $2;

-- name: event_by_id
SELECT event.seq, event.pubkey, event.created_at, event.kind, event.json
FROM part CROSS JOIN event_id CROSS JOIN event
WHERE event_id.part = part.n AND event_id.head = substr($1, 1, 8) AND event.seq = event_id.seq
  AND event.id = $1;

-- name: events_known
SELECT event.id, event.seq FROM carray($values) AS wanted CROSS JOIN part CROSS JOIN event_id CROSS JOIN event
WHERE event_id.part = part.n AND event_id.head = substr(wanted.value, 1, 8)
  AND event.seq = event_id.seq AND event.id = wanted.value;

-- name: events_by_ids
SELECT event.seq, event.id, event.pubkey, event.created_at, event.kind, event.json
FROM carray($values) AS wanted CROSS JOIN part CROSS JOIN event_id CROSS JOIN event
WHERE event_id.part = part.n AND event_id.head = substr(wanted.value, 1, 8)
  AND event.seq = event_id.seq AND event.id = wanted.value;

-- name: event_heads
-- A page of what all ids begin with. The large part comes last: what moves meanwhile moves there.
SELECT part, head, seq FROM event_id
WHERE (part, head, seq) < ($1, $2, $3) ORDER BY part DESC, head DESC, seq DESC LIMIT $4;

-- name: events_tagged
-- Events of one kind that carry a tag, up to a time.
SELECT event.seq, event.json FROM part CROSS JOIN tag CROSS JOIN event
WHERE tag.part = part.n AND tag.hash = $1 AND tag.created_at <= $2 AND tag.kind = $3
  AND event.seq = tag.seq LIMIT $4;

-- name: events_of_author
-- What an author wrote up to a time, but for two kinds.
SELECT event.seq, event.json FROM part CROSS JOIN tag CROSS JOIN event
WHERE tag.part = part.n AND tag.hash = $1 AND tag.created_at <= $2
  AND tag.kind <> $3 AND tag.kind <> $4 AND event.seq = tag.seq LIMIT $5;

-- name: receipts_naming
-- Which of these tag hashes stand on a receipt (kind 2402) of one of our calls: anybody can publish
-- something that looks like one, and must not pin what it names.
SELECT DISTINCT tag.hash FROM part CROSS JOIN tag CROSS JOIN event CROSS JOIN call
WHERE tag.part = part.n AND tag.kind = 2402 AND tag.hash IN ($values) AND event.seq = tag.seq
  AND call.receipt = event.id;

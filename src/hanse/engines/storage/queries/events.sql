-- name: event_insert
-- One event of the log; its number comes from log_take.
INSERT INTO event (seq, id, pubkey, created_at, kind, expires, address, json)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: log_take
-- So many sequence numbers; the last of them. The row stays locked until the commit, so numbers
-- become visible in their order whoever writes.
UPDATE position SET seq = seq + $1 WHERE name = 'log' RETURNING seq;

-- name: event_last_seq
SELECT seq FROM position WHERE name = 'log';

-- name: event_covered
-- Up to where the tables have all that was ever appended.
SELECT seq FROM position WHERE name = 'log';

-- name: events_known
SELECT id, seq FROM event WHERE id IN ($values);

-- name: event_by_id
SELECT seq, pubkey, created_at, kind, json FROM event WHERE id = $1;

-- name: events_by_ids
SELECT seq, id, pubkey, created_at, kind, json FROM event WHERE id IN ($values);

-- name: events_by_addresses
SELECT seq, address, created_at, json FROM event WHERE address IN ($values);

-- name: versions
SELECT seq, address, created_at, id FROM event WHERE address IN ($values);

-- name: event_by_address
-- The version of a replaceable or addressable event that is kept.
SELECT seq, id, pubkey, created_at, json FROM event WHERE address = $1;

-- name: event_delete
DELETE FROM event WHERE seq = $1;

-- name: events_after
-- Events of the log in order, for views that follow it.
SELECT seq, json FROM event WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: events_expired
SELECT seq, id, expires, kind, address FROM event
WHERE expires <= $1 AND (expires, seq) > ($2, $3) ORDER BY expires, seq LIMIT $4;

-- name: events_of_author
-- What an author wrote up to a time, but for two kinds.
SELECT seq, json FROM event
WHERE pubkey = $1 AND created_at <= $2 AND kind <> $3 AND kind <> $4 LIMIT $5;

-- name: events_tagged
-- Events of one kind that carry a tag, up to a time.
SELECT event.seq, event.json FROM tag CROSS JOIN event
WHERE tag.hash = $1 AND tag.created_at <= $2 AND tag.kind = $3 AND event.seq = tag.seq LIMIT $4;

-- name: event_count
SELECT count(*) FROM event;

-- name: tombstone_insert
-- A deletion, by its number, forbids its target up to the latest time any deletion named.
INSERT INTO tombstone (target, pubkey, until, seq) VALUES ($1, $2, $3, $4)
ON CONFLICT (target, pubkey) DO UPDATE SET until = excluded.until, seq = excluded.seq, alone = 0
WHERE excluded.until >= tombstone.until;

-- name: tombstone_alone
-- That deletion leaves the log.
UPDATE tombstone SET alone = 1 WHERE seq = $1;

-- name: removals_any
-- Whether anything at all is forbidden, by deletion or by vanishing: mostly not.
SELECT EXISTS (SELECT 1 FROM tombstone), EXISTS (SELECT 1 FROM vanished);

-- name: tombstones
-- What is forbidden among ids and addresses, by whom and up to when.
SELECT target, pubkey, until FROM tombstone WHERE target IN ($values);

-- name: vanish_insert
INSERT INTO vanished (pubkey, until, done) VALUES ($1, $2, 0)
ON CONFLICT (pubkey) DO UPDATE SET until = excluded.until, done = 0, alone = 0
WHERE excluded.until >= vanished.until;

-- name: vanished_alone
-- The request leaves the log.
UPDATE vanished SET alone = 1 WHERE pubkey = $1 AND until = $2;

-- name: vanished
SELECT pubkey, until FROM vanished WHERE pubkey IN ($values);

-- name: vanishing
-- Requests whose author's events are not all gone yet.
SELECT pubkey, until FROM vanished WHERE done = 0 LIMIT 10;

-- name: vanish_done
UPDATE vanished SET done = 1 WHERE pubkey = $1;

-- name: meta_get
SELECT value FROM meta WHERE name = $1;

-- name: meta_set
INSERT INTO meta (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: meta_delete
DELETE FROM meta WHERE name = $1;

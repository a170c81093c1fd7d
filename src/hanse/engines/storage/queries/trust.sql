-- name: trust_put
INSERT INTO trust_event (name, seq, kind, author, operator, source, domain, grade, created_at,
    expires, id, document)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, kind = excluded.kind,
    author = excluded.author, operator = excluded.operator, source = excluded.source,
    domain = excluded.domain, grade = excluded.grade, created_at = excluded.created_at,
    expires = excluded.expires, id = excluded.id, document = excluded.document;

-- name: trust_drop
DELETE FROM trust_event WHERE name = $1;

-- name: trust_drop_gone_of
-- What the log does not keep any more, of one author.
DELETE FROM trust_event WHERE author = $1
AND NOT EXISTS (SELECT 1 FROM event WHERE event.seq = trust_event.seq);

-- name: trust_drop_vanished
DELETE FROM trust_event WHERE author = $1 AND created_at <= $2 AND kind <> $3;

-- name: trust_gone
-- What the log does not keep any more, whoever wrote it.
SELECT name, author, kind FROM trust_event
WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.seq = trust_event.seq);

-- name: trust_ended
SELECT name FROM trust_event WHERE expires <= $1 LIMIT $2;

-- name: trust_has
SELECT 1 FROM trust_event WHERE author = $1 AND kind = $2 LIMIT 1;

-- name: trust_speaks
SELECT 1 FROM trust_event WHERE author = $1 LIMIT 1;

-- name: trust_clear_events
DELETE FROM trust_event;

-- name: trust_clear_follows
DELETE FROM trust_follow;

-- name: trust_unfollow
DELETE FROM trust_follow WHERE author = $1;

-- name: trust_follow
INSERT INTO trust_follow (author, source) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: trust_changed
-- Changes have numbers of their own: what leaves the log changes something without a new event.
INSERT INTO trust_change (author, seq)
VALUES ($1, (SELECT coalesce(max(seq), 0) + 1 FROM trust_change))
ON CONFLICT (author) DO UPDATE SET seq = excluded.seq;

-- name: trust_changes
SELECT author, seq FROM trust_change WHERE seq > $1 ORDER BY seq, author LIMIT $2;

-- name: trust_reached
SELECT coalesce(max(seq), 0) FROM trust_change;

-- name: trust_endorsements
-- All of them from the index alone, by author, from one place on. The kind is written out, or the
-- index could not be chosen.
SELECT author, source, domain, grade, created_at, expires, id FROM trust_event
WHERE kind = 31410 AND (author, created_at, id) > ($1, $2, $3) AND expires > $4
ORDER BY author, created_at, id LIMIT $5;

-- name: trust_endorsements_by
SELECT source, domain, grade, created_at, expires FROM trust_event
WHERE kind = 31410 AND author = $1 AND expires > $2 ORDER BY created_at, id LIMIT $3;

-- name: trust_accusations
-- Ratings 1 of one author, the newest. Kind and grade are written out, or the index could not be
-- chosen.
SELECT document FROM trust_event
WHERE kind = 30085 AND grade = 1 AND author = $1 AND expires > $2
ORDER BY created_at DESC, id LIMIT $3;

-- name: trust_graded
SELECT operator, grade FROM trust_event WHERE name = $1;

-- name: trust_by_kind
-- Everything of a kind that ends after a time, by author, from one author on.
SELECT author, id, document FROM trust_event
WHERE kind = $1 AND author > $2 AND expires > $3 ORDER BY author, created_at, id LIMIT $4;

-- name: trust_of_author
SELECT id, document FROM trust_event
WHERE author = $1 AND kind = $2 AND expires > $3 ORDER BY created_at, id LIMIT $4;

-- name: trust_newest
SELECT document FROM trust_event
WHERE author = $1 AND kind = $2 AND expires > $3 ORDER BY created_at DESC, id LIMIT $4;

-- name: trust_about
-- The newest about one key.
SELECT id, author, document FROM trust_event
WHERE source = $1 AND kind = $2 AND expires > $3 ORDER BY created_at DESC, id LIMIT $4;

-- name: trust_between
-- What one author says of one key, the newest.
SELECT document FROM trust_event
WHERE author = $1 AND kind = $2 AND source = $3 AND expires > $4
ORDER BY created_at DESC, id LIMIT $5;

-- name: trust_times
-- When one author wrote of others, for bursts.
SELECT id, created_at FROM trust_event
WHERE author = $1 AND kind = $2 AND created_at > $3 ORDER BY created_at, id LIMIT $4;

-- name: trust_operators
-- Who answers for keys, by each event that says so.
SELECT author, operator, max(created_at), min(id) FROM trust_event
WHERE author IN ($values) AND operator <> author GROUP BY author, operator;

-- name: trust_agents
SELECT DISTINCT author FROM trust_event WHERE operator = $1 AND operator <> author
ORDER BY author LIMIT $2;

-- name: trust_followers
SELECT author FROM trust_follow WHERE source = $1 ORDER BY author LIMIT $2;

-- name: trust_hearsay
-- The newest about one key that events of other protocols say.
SELECT document FROM trust_event
WHERE source = $1 AND kind IN ($2, $3, $4) AND expires > $5 ORDER BY created_at DESC, id LIMIT $6;

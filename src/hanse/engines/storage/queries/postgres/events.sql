-- Queries for many rows take an array for each column: one statement and one way to the server.

-- name: event_insert
INSERT INTO event (seq, id, pubkey, created_at, kind, expires, address, json)
SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::integer[],
                     $6::bigint[], $7::text[], $8::bytea[]);

-- name: event_delete
DELETE FROM event WHERE seq = ANY($1::bigint[]);

-- name: tag_insert
INSERT INTO tag (hash, created_at, seq, kind)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[]) ON CONFLICT DO NOTHING;

-- name: tag_delete
DELETE FROM tag USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS gone (hash, created_at, seq)
WHERE tag.hash = gone.hash AND tag.created_at = gone.created_at AND tag.seq = gone.seq;

-- name: text_insert
INSERT INTO event_text (seq, words)
SELECT seq, array_to_tsvector(array_remove(string_to_array(words, ' '), ''))
FROM unnest($1::bigint[], $2::text[]) AS added (seq, words);

-- name: text_delete
DELETE FROM event_text WHERE seq = ANY($1::bigint[]);

-- name: events_following
-- Events of some kinds in order, up to a number.
SELECT seq, json FROM event WHERE seq > $1 AND seq <= $2 AND kind = ANY($3::integer[])
ORDER BY seq LIMIT $4;

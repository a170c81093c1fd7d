-- name: text_insert
INSERT INTO event_text (rowid, words) VALUES ($1, $2);

-- name: text_delete
DELETE FROM event_text WHERE rowid = $1;

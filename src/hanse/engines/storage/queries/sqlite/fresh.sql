-- name: fresh_insert
-- Events of one commit, a line of JSON each.
INSERT INTO fresh (last, count, events) VALUES ($1, $2, $3);

-- name: fresh_all
SELECT last, count, events FROM fresh ORDER BY last;

-- name: fresh_after
SELECT last, count, events FROM fresh WHERE last > $1 ORDER BY last;

-- name: fresh_drop
DELETE FROM fresh WHERE last <= $1;

-- name: fresh_last
SELECT coalesce(max(last), 0) FROM fresh;

-- name: fresh_clear
DELETE FROM fresh;

-- name: log_reach
-- The tables hold the log up to here.
UPDATE position SET seq = $1 WHERE name = 'log';

-- name: event_covered
-- Up to where the tables have all that was ever appended.
SELECT coalesce(max(seq), 0) FROM event;

-- name: trust_beyond
-- Whether trust followed what the log has lost.
SELECT 1 FROM view WHERE name = 'trust' AND seq > $1;

-- name: views_back
-- No view is beyond the log; trust is read from the start. All offers are in the tables.
UPDATE view SET seq = CASE name WHEN 'trust' THEN 0 ELSE $1 END
WHERE name IN ('offers', 'trust') AND seq > $1;

-- name: events_following
-- Events of some kinds in order, up to a number. By number, whatever the index on kinds offers.
SELECT seq, json FROM event WHERE seq > $1 AND seq <= $2 AND +kind IN (SELECT value FROM carray($3))
ORDER BY seq LIMIT $4;

-- name: refused_add
INSERT INTO refused (operator, day, count) VALUES ($1, $2, $3)
ON CONFLICT (operator, day) DO UPDATE SET count = refused.count + excluded.count;

-- name: refused_of
SELECT operator, day, count FROM refused WHERE operator IN ($values) ORDER BY operator, day;

-- name: refused_faint
-- Too old, or on a day that is over too few to weigh anything.
SELECT operator, day FROM refused WHERE day <= $1 OR (day < $2 AND count < $3) LIMIT $4;

-- name: refused_count
SELECT count(*) FROM refused;

-- name: refused_least
SELECT operator, day FROM refused ORDER BY count, day, operator LIMIT $1;

-- name: refused_drop
DELETE FROM refused WHERE operator = $1 AND day = $2;

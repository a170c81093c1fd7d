-- How new the tags of the large part are, at most: who asks for what is newer than that need not look
-- there. A slice is all hashes with the same first six bits.
CREATE TABLE slice (
    n      INTEGER PRIMARY KEY,
    newest INTEGER NOT NULL
) STRICT;
WITH RECURSIVE every(n) AS (SELECT -32 UNION ALL SELECT n + 1 FROM every WHERE n < 31)
INSERT INTO slice SELECT n, 0 FROM every;
UPDATE slice SET newest = moved.newest
FROM (SELECT hash >> 58 AS n, max(created_at) AS newest FROM tag WHERE part = 0 GROUP BY 1) AS moved
WHERE moved.n = slice.n;

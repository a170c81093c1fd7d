-- Events that are on disk but not in the tables and indexes yet: one row a commit, whatever it
-- holds, so that a commit writes few pages. Many of them move together, soon. Their numbers end at
-- `last` and have no gaps; all of them are newer than what `event` has.
CREATE TABLE fresh (
    last   INTEGER PRIMARY KEY,
    count  INTEGER NOT NULL,
    events BLOB NOT NULL
) STRICT;

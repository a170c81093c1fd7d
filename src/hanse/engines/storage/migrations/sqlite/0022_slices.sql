-- What finds events by id and tag is in a large part (0) and a small one for what is new (1); it was in
-- as many parts as the log had millions of events. Authors stand among the tags, instead of in an
-- index of their own; with each tag, when its event expires.
CREATE TABLE event_id_new (
    part INTEGER NOT NULL,
    head BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (part, head, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO event_id_new SELECT 0, head, seq FROM event_id ORDER BY event_id.part, head, seq;
DROP TABLE event_id;
ALTER TABLE event_id_new RENAME TO event_id;

CREATE TABLE tag_new (
    part       INTEGER NOT NULL,
    hash       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    seq        INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    expires    INTEGER,
    PRIMARY KEY (part, hash, created_at, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO tag_new
SELECT 0, tag.hash, tag.created_at, tag.seq, tag.kind, event.expires FROM tag CROSS JOIN event
WHERE event.seq = tag.seq ORDER BY tag.part, tag.hash, tag.created_at, tag.seq;
INSERT INTO tag_new
SELECT 0, author_hash(pubkey), created_at, seq, kind, expires FROM event ORDER BY 2, 3, 4;
DROP TABLE tag;
ALTER TABLE tag_new RENAME TO tag;
DROP INDEX event_by_author;

DELETE FROM part;
INSERT INTO part (n) VALUES (0), (1);

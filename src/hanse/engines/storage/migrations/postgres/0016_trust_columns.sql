-- Endorsements are read by the million at every start: from an index that holds all of them. The view
-- is computed anew, with a column that it lacked; changes have numbers of their own.
DELETE FROM trust_event;
DELETE FROM trust_follow;
DELETE FROM trust_change;
DELETE FROM view WHERE name = 'trust';
ALTER TABLE trust_event ADD COLUMN grade bigint NOT NULL DEFAULT 0;
CREATE INDEX trust_event_endorsed ON trust_event
    (author, created_at, id, source, domain, grade, expires) WHERE kind = 31410;
-- Who answers for a key, however much the key has written.
CREATE INDEX trust_event_attested ON trust_event (author, operator, created_at, id)
    WHERE operator <> author;

-- Who says of whom that they were betrayed is read for every question: ratings have their number in a
-- column, and those that accuse an index. The view is computed anew.
DELETE FROM trust_event;
DELETE FROM trust_follow;
DELETE FROM trust_change;
DELETE FROM view WHERE name = 'trust';
CREATE INDEX trust_event_accuses ON trust_event (author, created_at)
    WHERE kind = 30085 AND grade = 1;

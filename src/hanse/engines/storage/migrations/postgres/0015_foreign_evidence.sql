-- Trust reads more kinds now: its view is built again from the log when the node starts.
DELETE FROM trust_event;
DELETE FROM trust_follow;
DELETE FROM trust_change;
DELETE FROM view WHERE name = 'trust';

-- What upkeep needs: which deletion forbade a target, so that the oldest go first; the same for
-- requests to vanish; the outputs that calls still keep, by age.
ALTER TABLE tombstone ADD COLUMN seq bigint NOT NULL DEFAULT 0;
CREATE INDEX tombstone_by_seq ON tombstone (seq);
CREATE INDEX vanished_by_time ON vanished (until) WHERE done = 1;
CREATE INDEX call_output ON call (closed_ms) WHERE output IS NOT NULL;

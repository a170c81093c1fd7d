-- Search reads offers by number from an index in memory, which has their words: the tables that
-- had them go.
DROP TABLE capability_text;
DROP TABLE capability;
CREATE INDEX offer_by_seq ON offer (seq);

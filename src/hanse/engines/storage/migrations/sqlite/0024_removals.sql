-- Who signed what is served of a handle: it goes when they ask to vanish, and when they had.
ALTER TABLE handle ADD COLUMN signer TEXT NOT NULL DEFAULT '';
UPDATE handle SET signer = coalesce(json_extract(CAST(statement AS TEXT), '$.pubkey'), '')
WHERE statement <> x'';
CREATE INDEX handle_by_signer ON handle (signer);
DELETE FROM handle WHERE until > 0 AND signer <> '' AND EXISTS (
    SELECT 1 FROM vanished
    WHERE lower(hex(vanished.pubkey)) = handle.signer AND vanished.until >= handle.said
);
UPDATE handle SET signer = '', moved = '', statement = x'' WHERE signer <> '' AND EXISTS (
    SELECT 1 FROM vanished
    WHERE lower(hex(vanished.pubkey)) = handle.signer AND vanished.until >= handle.said
);

-- Whether what forbids a return has itself left the log: only such rows are bounded, or strangers
-- could push out what is still said.
ALTER TABLE tombstone ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
UPDATE tombstone SET alone = 1 WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.seq = tombstone.seq);
CREATE INDEX tombstone_alone ON tombstone (seq) WHERE alone = 1;
ALTER TABLE vanished ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
UPDATE vanished SET alone = 1 WHERE pubkey NOT IN (SELECT pubkey FROM event WHERE kind = 62);
DROP INDEX vanished_by_time;
CREATE INDEX vanished_alone ON vanished (until) WHERE alone = 1;

-- Names that others than the operator claimed: who answers for their key, when they end (0: never,
-- the operator gave them), what the key signed about them and when, and where it went. `shape` is
-- the same for names that look alike; '' until it was filled in.
ALTER TABLE handle ADD COLUMN shape text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE handle ADD COLUMN operator text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE handle ADD COLUMN until bigint NOT NULL DEFAULT 0;
ALTER TABLE handle ADD COLUMN moved text NOT NULL DEFAULT '';
ALTER TABLE handle ADD COLUMN said bigint NOT NULL DEFAULT 0;
ALTER TABLE handle ADD COLUMN statement bytea NOT NULL DEFAULT '';
CREATE INDEX handle_by_shape ON handle (shape);
CREATE INDEX handle_by_operator ON handle (operator) WHERE until > 0;
CREATE INDEX handle_by_end ON handle (until) WHERE until > 0;

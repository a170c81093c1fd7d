-- What the caller searched for before the call.
ALTER TABLE call ADD COLUMN words TEXT NOT NULL DEFAULT '';

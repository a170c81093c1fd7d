-- What the operator decided: keys, events, kinds and addresses allowed and denied, and the relay's
-- own name, description and icon. `list` says which list the item is on.
CREATE TABLE moderation (
    list   TEXT NOT NULL,
    item   TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (list, item)
);

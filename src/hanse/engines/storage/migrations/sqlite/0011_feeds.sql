-- What a feed is read by: an author's times with all that decides whether an event is seen, so that
-- how far back the feed reaches is found in the index alone. By kind nobody asks for authors.
DROP INDEX event_by_author;
CREATE INDEX event_by_author ON event (pubkey, created_at, kind, expires);
DROP INDEX event_by_kind;
CREATE INDEX event_by_kind ON event (kind, created_at, expires);

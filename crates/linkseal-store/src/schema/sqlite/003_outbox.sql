-- Milestones of domains that the journal has not taken yet, with what their events will say. They
-- go with their domain.
CREATE TABLE outbox (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    domain INTEGER NOT NULL REFERENCES domains (id) ON DELETE CASCADE,
    id     TEXT    NOT NULL,
    what   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    tenant TEXT    NOT NULL,
    ssl    TEXT    NOT NULL
) STRICT;
CREATE INDEX outbox_by_domain ON outbox (domain);

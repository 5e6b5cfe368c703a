-- Stored redirects and kill switches.

-- `domain` is a name, or empty for the redirects of all domains, which so sort first. Not tied to
-- `domains` by a key, since there is no domain of that name: a purge deletes its redirects itself.
CREATE TABLE redirects (
    domain  TEXT    NOT NULL,
    slug    TEXT    NOT NULL,
    url     TEXT    NOT NULL,
    expires INTEGER,
    changed INTEGER NOT NULL,
    PRIMARY KEY (domain, slug)
) STRICT, WITHOUT ROWID;

CREATE TABLE kills (
    kind  TEXT    NOT NULL,
    value TEXT    NOT NULL,
    note  TEXT,
    by    TEXT    NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

-- `slug` is set for a change of a redirect, whose domain is in `name` then (NULL: of all domains).
-- `kills` is 1 for a change of the kill switches.
ALTER TABLE changes ADD COLUMN slug TEXT;
ALTER TABLE changes ADD COLUMN kills INTEGER NOT NULL DEFAULT 0;

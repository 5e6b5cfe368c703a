-- The first schema. Times are milliseconds since the Unix epoch; names are lower-case ASCII, which
-- SQLite's binary collation sorts as the rest of linkseal does.

-- `record` is the whole domain as JSON; the other columns are copies of it for the indexes.
CREATE TABLE domains (
    id       INTEGER PRIMARY KEY,
    name     TEXT    NOT NULL UNIQUE,
    tenant   TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    next_due INTEGER,
    version  INTEGER NOT NULL,
    record   TEXT    NOT NULL
) STRICT;

-- Pages sorted by name, for each filter. There is no column for the state: it follows from the
-- reason, and a page of one state is merged from the pages of its reasons.
CREATE INDEX domains_by_tenant ON domains (tenant, name);
CREATE INDEX domains_by_reason ON domains (reason, name);
CREATE INDEX domains_by_tenant_and_reason ON domains (tenant, reason, name);
CREATE INDEX domains_by_due ON domains (next_due, name) WHERE next_due IS NOT NULL;

-- Two tables, since most domains are tenants of their own: summing `counts` over all tenants
-- would be as long as counting the domains.
CREATE TABLE counts (
    tenant TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    n      INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (tenant, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE totals (
    reason TEXT    PRIMARY KEY NOT NULL,
    n      INTEGER NOT NULL CHECK (n >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    domain     INTEGER PRIMARY KEY REFERENCES domains (id) ON DELETE CASCADE,
    chain_pem  TEXT    NOT NULL,
    sealed_key BLOB    NOT NULL
) STRICT;

CREATE TABLE orders (
    domain     INTEGER PRIMARY KEY REFERENCES domains (id) ON DELETE CASCADE,
    ca         TEXT    NOT NULL,
    url        TEXT,
    sealed_key BLOB    NOT NULL,
    step       TEXT    NOT NULL,
    created    INTEGER NOT NULL
) STRICT;

-- Numbered per domain, so that a domain's lines lie together and the oldest are found by number.
CREATE TABLE timeline (
    domain INTEGER NOT NULL REFERENCES domains (id) ON DELETE CASCADE,
    id     INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    event  TEXT    NOT NULL,
    reason TEXT    NOT NULL,
    detail TEXT,
    PRIMARY KEY (domain, id)
) STRICT, WITHOUT ROWID;

-- Not tied to `domains`: it outlives them.
CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    who       TEXT    NOT NULL,
    from_addr TEXT    NOT NULL,
    action    TEXT    NOT NULL,
    subject   TEXT    NOT NULL,
    before    TEXT    NOT NULL,
    after     TEXT    NOT NULL
) STRICT;

-- `name` is NULL for a change of the ticket keys.
CREATE TABLE changes (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT,
    certificate INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
    key     TEXT    PRIMARY KEY NOT NULL,
    owner   TEXT    NOT NULL,
    fence   INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One counter for all leases: it grows even where a lease's own row has come and gone.
CREATE TABLE fence (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO fence (only, last) VALUES (1, 0);

-- A bucket without a row is full. `full_at`: when this one will be, and its row can go.
CREATE TABLE budgets (
    key     TEXT    PRIMARY KEY NOT NULL,
    tokens  REAL    NOT NULL,
    at      INTEGER NOT NULL,
    full_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budgets_by_full ON budgets (full_at);

CREATE TABLE held_back (
    ca    TEXT    PRIMARY KEY NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name   TEXT PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ca_accounts (
    directory TEXT    PRIMARY KEY NOT NULL,
    kid       TEXT    NOT NULL,
    created   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ticket_keys (
    id      INTEGER PRIMARY KEY,
    sealed  BLOB    NOT NULL,
    created INTEGER NOT NULL
) STRICT;

-- What Store::probe writes and reads back.
CREATE TABLE probe (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    ballast BLOB    NOT NULL
) STRICT;

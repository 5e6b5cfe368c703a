-- CAs in trouble, the freeze of all orders, and how many renewals are due on each day.

CREATE TABLE ca_troubles (
    directory TEXT    PRIMARY KEY NOT NULL,
    failures  INTEGER NOT NULL,
    outages   INTEGER NOT NULL,
    out_until INTEGER,
    since     INTEGER NOT NULL,
    why       TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE freeze (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    note  TEXT,
    by    TEXT    NOT NULL,
    since INTEGER NOT NULL
) STRICT;

-- The day, counted from 1970, on which the certificate held is to be renewed; NULL: none is.
ALTER TABLE domains ADD COLUMN renew_day INTEGER;
UPDATE domains SET renew_day = unixepoch(json_extract(record, '$.ssl.certificate.renew_at')) / 86400
    WHERE reason IN ('ok', 'renewing', 'renewal_failing')
    AND json_extract(record, '$.paused') IS NULL AND json_extract(record, '$.retired') IS NULL;
CREATE TABLE renewals (
    day INTEGER PRIMARY KEY NOT NULL,
    n   INTEGER NOT NULL CHECK (n >= 0)
) STRICT;
INSERT INTO renewals (day, n)
    SELECT renew_day, count(*) FROM domains WHERE renew_day IS NOT NULL GROUP BY renew_day;

-- The traits of a fleet, as far as they concern one process.

CREATE TABLE nodes (
    name     TEXT    PRIMARY KEY NOT NULL,
    owner    TEXT    NOT NULL,
    version  TEXT    NOT NULL,
    joined   INTEGER NOT NULL,
    seen     INTEGER NOT NULL,
    position TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- `tag` is random: a restored store gives the same numbers to other changes, with other tags.
-- `freeze` is 1 if the freeze of all orders began or ended.
ALTER TABLE changes ADD COLUMN tag INTEGER NOT NULL DEFAULT 0;
ALTER TABLE changes ADD COLUMN freeze INTEGER NOT NULL DEFAULT 0;

-- Domains that were paused or retired while an order was on its way could keep a state that promises
-- one, and be due never. They are due now: the first look settles them.
UPDATE domains SET next_due = 0
    WHERE reason NOT IN ('ok', 'moved', 'paused', 'expired', 'denied')
    AND CASE WHEN json_valid(record)
        THEN json_extract(record, '$.paused') IS NOT NULL OR json_extract(record, '$.retired') IS NOT NULL
        ELSE 0 END;

DELETE FROM sessions
WHERE id IN (
    SELECT id FROM sessions WHERE app = :app AND user = :user AND epoch < :epoch LIMIT :limit)

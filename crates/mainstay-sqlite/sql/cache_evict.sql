DELETE FROM entries
WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT :limit)
RETURNING space, octet_length(key) + coalesce(octet_length(value), 0)

DELETE FROM entries
WHERE id IN (SELECT id FROM entries WHERE ends <= :now ORDER BY ends LIMIT :limit)
RETURNING space, octet_length(key) + coalesce(octet_length(value), 0)

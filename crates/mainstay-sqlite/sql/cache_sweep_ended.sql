DELETE FROM entries
WHERE id IN (SELECT id FROM entries WHERE expires <= :now ORDER BY expires LIMIT :limit)
RETURNING space, octet_length(key) + coalesce(octet_length(value), 0)

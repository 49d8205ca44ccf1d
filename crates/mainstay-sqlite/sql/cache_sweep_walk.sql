SELECT id, key, as_of, coalesce(octet_length(value), 0)
FROM entries
WHERE space = :space AND key >= :from
ORDER BY key
LIMIT :limit

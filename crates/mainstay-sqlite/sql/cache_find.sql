SELECT id, as_of, expires, value IS NOT NULL, tags, coalesce(octet_length(value), 0),
  expires - fresh
FROM entries
WHERE space = ?1 AND key = ?2

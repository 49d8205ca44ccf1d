SELECT as_of, created, fresh, expires, load_ms, content_type, tags, value
FROM entries
WHERE space = ?1 AND key = ?2

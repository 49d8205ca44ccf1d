-- REPLACE gives a new id: what was written last is the youngest again.
INSERT OR REPLACE INTO entries
  (space, key, as_of, created, fresh, expires, ends, load_ms, content_type, tags, value)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)

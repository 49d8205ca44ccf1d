-- REPLACE gives a new id: what was written last is the youngest again.
INSERT OR REPLACE INTO entries
  (space, key, as_of, created, fresh, expires, load_ms, content_type, tags, value)
VALUES
  (:space, :key, :as_of, :created, :fresh, :expires, :load_ms, :content_type, :tags, :value)

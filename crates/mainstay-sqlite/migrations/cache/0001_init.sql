-- Positions, floors and where the file was last written.
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Namespaces of apps, with what they take and when they were last cleared.
CREATE TABLE spaces (
  id      INTEGER PRIMARY KEY,
  app     TEXT NOT NULL,
  ns      TEXT NOT NULL,
  entries INTEGER NOT NULL DEFAULT 0,
  bytes   INTEGER NOT NULL DEFAULT 0,
  mark    INTEGER NOT NULL DEFAULT 0,
  UNIQUE (app, ns)
) STRICT;

-- The id grows with every write, so the lowest is the oldest. `ends` is `expires` rounded up: values
-- that end at about the same time lie together in its index, whatever the jitter. The value comes
-- last: what is read without it does not touch its overflow pages.
CREATE TABLE entries (
  id           INTEGER PRIMARY KEY,
  space        INTEGER NOT NULL,
  key          TEXT NOT NULL,
  as_of        INTEGER NOT NULL,
  created      INTEGER NOT NULL,
  fresh        INTEGER NOT NULL,
  expires      INTEGER NOT NULL,
  ends         INTEGER NOT NULL,
  load_ms      INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  tags         TEXT NOT NULL,
  value        BLOB,
  UNIQUE (space, key)
) STRICT;

CREATE INDEX entries_by_end ON entries (ends);

-- The newest invalidation of each tag and prefix.
CREATE TABLE tag_marks (
  app TEXT NOT NULL,
  tag TEXT NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (app, tag)
) STRICT, WITHOUT ROWID;

CREATE TABLE prefix_marks (
  space  INTEGER NOT NULL,
  prefix TEXT NOT NULL,
  seq    INTEGER NOT NULL,
  PRIMARY KEY (space, prefix)
) STRICT, WITHOUT ROWID;

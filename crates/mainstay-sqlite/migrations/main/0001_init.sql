-- The truth. Times are milliseconds since 1970-01-01 UTC.

-- Small facts about the file itself.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What copies have to follow. A position is never used twice, even after old rows were removed.
CREATE TABLE changes (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    app     TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT NOT NULL
) STRICT;

-- Outcomes of calls that were made with an idempotency key.
CREATE TABLE once (
    app         TEXT NOT NULL,
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    salt        BLOB NOT NULL,
    outcome     TEXT NOT NULL,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (app, scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_by_end ON once (expires_at);

-- Rows sit in the order of their ids, which is the order of creation.
-- A session is live while idle_expires_at is ahead and its epoch is the one of its user.
CREATE TABLE sessions (
    id                  BLOB PRIMARY KEY,
    app                 TEXT NOT NULL,
    user                TEXT NOT NULL,
    epoch               INTEGER NOT NULL,
    kind                TEXT NOT NULL,
    token               BLOB NOT NULL,
    previous            BLOB,
    previous_until      INTEGER,
    rotated_at          INTEGER,
    data                TEXT NOT NULL,
    metadata            TEXT NOT NULL,
    user_agent          TEXT,
    ip                  TEXT,
    device_name         TEXT,
    factor_context      TEXT,
    factor_at           INTEGER,
    created_at          INTEGER NOT NULL,
    last_seen_at        INTEGER NOT NULL,
    idle_ms             INTEGER NOT NULL,
    idle_expires_at     INTEGER NOT NULL,
    absolute_expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (app, user, epoch, id);
CREATE INDEX sessions_by_end ON sessions (idle_expires_at);

-- Users whose sessions were revoked together: sessions of an older epoch are dead.
-- No row means epoch 0. Rows stay, so that an epoch is never used twice.
CREATE TABLE session_users (
    app     TEXT NOT NULL,
    user    TEXT NOT NULL,
    epoch   INTEGER NOT NULL,
    to_clean INTEGER NOT NULL,
    PRIMARY KEY (app, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_users_to_clean ON session_users (app, user) WHERE to_clean = 1;

CREATE TABLE session_counts (
    app  TEXT NOT NULL,
    kind TEXT NOT NULL,
    live INTEGER NOT NULL,
    PRIMARY KEY (app, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE session_minutes (
    app     TEXT NOT NULL,
    minute  INTEGER NOT NULL,
    created INTEGER NOT NULL,
    checks  INTEGER NOT NULL,
    PRIMARY KEY (app, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
    id         BLOB PRIMARY KEY,
    hash       BLOB NOT NULL UNIQUE,
    app        TEXT NOT NULL,
    name       TEXT NOT NULL,
    scopes     TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;

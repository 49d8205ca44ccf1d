DELETE FROM sessions
WHERE id IN (SELECT id FROM sessions WHERE idle_expires_at <= :now ORDER BY idle_expires_at LIMIT :limit)
RETURNING app, kind,
    epoch = coalesce(
        (SELECT epoch FROM session_users u WHERE u.app = sessions.app AND u.user = sessions.user), 0)

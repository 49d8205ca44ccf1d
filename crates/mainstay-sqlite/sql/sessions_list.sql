SELECT id, token, previous, previous_until, rotated_at, user, kind, data, metadata, user_agent, ip,
       device_name, factor_context, factor_at, created_at, last_seen_at, idle_ms, idle_expires_at,
       absolute_expires_at
FROM sessions
WHERE app = :app AND user = :user AND id < :before AND idle_expires_at > :now
  AND epoch = coalesce((SELECT epoch FROM session_users WHERE app = :app AND user = :user), 0)
ORDER BY id DESC
LIMIT :limit

UPDATE sessions AS s SET
    last_seen_at = max(last_seen_at, :now),
    idle_expires_at = max(idle_expires_at, min(:now + idle_ms, absolute_expires_at))
WHERE id = :id AND app = :app AND idle_expires_at > :now
  AND epoch = coalesce((SELECT epoch FROM session_users u WHERE u.app = s.app AND u.user = s.user), 0)
RETURNING id, token, previous, previous_until, rotated_at, user, kind, data, metadata, user_agent, ip,
          device_name, factor_context, factor_at, created_at, last_seen_at, idle_ms, idle_expires_at,
          absolute_expires_at

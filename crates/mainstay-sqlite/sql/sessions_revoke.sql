DELETE FROM sessions
WHERE id = :id AND app = :app AND idle_expires_at > :now
  AND epoch = coalesce(
      (SELECT epoch FROM session_users u WHERE u.app = sessions.app AND u.user = sessions.user), 0)
RETURNING kind

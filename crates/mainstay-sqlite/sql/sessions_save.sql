UPDATE sessions SET
    token = :token, previous = :previous, previous_until = :previous_until, rotated_at = :rotated_at,
    data = :data, metadata = :metadata, factor_context = :factor_context, factor_at = :factor_at,
    last_seen_at = :last_seen_at, idle_expires_at = :idle_expires_at,
    absolute_expires_at = :absolute_expires_at
WHERE id = :id

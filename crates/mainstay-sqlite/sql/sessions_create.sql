INSERT INTO sessions (
    id, app, user, epoch, kind, token, data, metadata, user_agent, ip, device_name,
    created_at, last_seen_at, idle_ms, idle_expires_at, absolute_expires_at
) VALUES (
    :id, :app, :user, :epoch, :kind, :token, :data, :metadata, :user_agent, :ip, :device_name,
    :now, :now, :idle_ms, :idle_expires_at, :absolute_expires_at
)

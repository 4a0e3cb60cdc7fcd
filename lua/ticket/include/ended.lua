-- From now on the session takes nothing any more. Only so many are remembered, the latest. Needs: clock.
local SESSION_KEPT_MS = 86460000
local SESSIONS_ENDED_MAX = 500000
local function mark_ended(jti)
  redis.call('ZADD', k.ended, string.format('%.0f', now + SESSION_KEPT_MS), jti)
  if redis.call('ZCARD', k.ended) > SESSIONS_ENDED_MAX then redis.call('ZPOPMIN', k.ended) end
end

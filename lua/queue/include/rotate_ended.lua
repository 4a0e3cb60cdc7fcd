-- The log of the ended keeps the current hour and the one before: makes room if the current one is over.
local function rotate_ended()
  local rotated = tonumber(redis.call('HGET', META, 'rotated'))
  if math.max(now - rotated, 0) >= ENDED_KEPT_MS then
    redis.call('UNLINK', ENDED_OLD)
    if redis.call('EXISTS', ENDED) == 1 then
      redis.call('RENAME', ENDED, ENDED_OLD)
    end
    redis.call('HSET', META, 'rotated', now)
  end
end

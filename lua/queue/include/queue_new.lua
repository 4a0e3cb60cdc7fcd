-- Queues all VISITORS behind `seq` if none of them is in the line or, as `ends_of` tells, in a session.
-- Whether it did; if not, nothing has changed.
local function queue_new(seq, ends_of)
  local count = #VISITORS
  if count == 0 then
    return false
  end
  for i = 1, count do
    if ends_of[i] then
      return false
    end
  end
  -- Where many come again, after a reconnection, the first few show it.
  for _, rank in ipairs(redis.call('ZMSCORE', WAITING, unpack(VISITORS, 1, math.min(count, 4)))) do
    if rank then
      return false
    end
  end
  local queued = {}
  for i = 1, count do
    queued[2 * i - 1], queued[2 * i] = seq + i, VISITORS[i]
  end
  if redis.call('ZADD', WAITING, 'NX', unpack(queued)) == count then
    return true
  end
  -- Nobody else has these ranks: numbers only rise.
  redis.call('ZREMRANGEBYSCORE', WAITING, seq + 1, seq + count)
  return false
end

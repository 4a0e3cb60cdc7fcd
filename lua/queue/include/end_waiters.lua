-- Takes waiters out of the line for one reason, a batch at most. `ranks` are texts. Their bits are the caller's.
local function end_waiters(visitors, ranks, reason)
  rotate_ended()
  local log, why = {}, ':' .. reason
  for i, visitor in ipairs(visitors) do
    log[2 * i - 1], log[2 * i] = visitor, ranks[i] .. why
  end
  redis.call('ZREM', WAITING, unpack(visitors))
  redis.call('HSET', ENDED, unpack(log))
  if reason == 'ABANDONED' then
    redis.call('HINCRBY', META, 'abandoned', #visitors)
  end
end

-- Takes waiters out of the line for one reason, a batch at most. `ranks` are numbers.
local function end_waiters(visitors, ranks, reason)
  rotate_ended()
  local bits, log = {}, {}
  for i, visitor in ipairs(visitors) do
    local bit = 4 * i - 3
    bits[bit], bits[bit + 1], bits[bit + 2], bits[bit + 3] = 'SET', 'u1', ranks[i], 0
    log[2 * i - 1], log[2 * i] = visitor, string.format('%.0f:%s', ranks[i], reason)
  end
  redis.call('ZREM', WAITING, unpack(visitors))
  redis.call('BITFIELD', PRESENT, unpack(bits))
  redis.call('HSET', ENDED, unpack(log))
  if reason == 'ABANDONED' then
    redis.call('HINCRBY', META, 'abandoned', #visitors)
  end
end

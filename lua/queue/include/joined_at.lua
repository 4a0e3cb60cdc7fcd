-- When a number was handed out, to the second (ms), and the number from which another answer holds.
-- Both false where that is not known.
local function joined_at(seq)
  local first = redis.call('ZREVRANGEBYSCORE', JOINED, seq, '-inf', 'LIMIT', 0, 1)[1]
  local next_first = redis.call('ZRANGEBYSCORE', JOINED, '(' .. string.format('%.0f', seq), '+inf', 'LIMIT', 0, 1)[1]
  return first and tonumber(string.match(first, ':(%d+)$')) or false,
    next_first and tonumber(string.match(next_first, '^(%d+)')) or false
end

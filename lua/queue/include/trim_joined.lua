-- Forgets joining times that only numbers before `head` need, a bounded number at a time.
local function trim_joined(head)
  local kept = redis.call('ZREVRANGEBYSCORE', JOINED, head, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  local over = kept and redis.call('ZCOUNT', JOINED, '-inf', '(' .. kept) or 0
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', JOINED, 0, math.min(over, JOINED_TRIM_MAX) - 1)
  end
end

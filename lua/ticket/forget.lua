-- Forgets ended sessions and holds that were kept long enough, a bounded number of each.
--
-- KEYS: meta ended past past_until
-- ARGV: batch
-- Reply: FREED more | NO_EVENT
-- Includes: clock
local batch = tonumber(ARGV[1])
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local limit = string.format('%.0f', now)
local sessions = redis.call('ZRANGEBYSCORE', k.ended, '-inf', limit, 'LIMIT', 0, batch)
for _, jti in ipairs(sessions) do redis.call('ZREM', k.ended, jti) end
local holds = redis.call('ZRANGEBYSCORE', k.past_until, '-inf', limit, 'LIMIT', 0, batch)
for _, reservation in ipairs(holds) do
  redis.call('ZREM', k.past_until, reservation)
  redis.call('HDEL', k.past, reservation)
end
return { 'FREED', (#sessions > 0 or #holds > 0) and '1' or '0' }

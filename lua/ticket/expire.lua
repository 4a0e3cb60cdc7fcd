-- Frees holds whose time has come, a bounded number of them.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: batch
-- Reply: FREED more reservation… | NO_EVENT
--   more: 1 when as many as were asked for were due
-- Includes: clock changed seats tally items hold drop release
local batch = tonumber(ARGV[1])
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local due = redis.call('ZRANGEBYSCORE', k.ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, batch)
local reply = { 'FREED', #due == batch and '1' or '0' }
for _, reservation in ipairs(due) do
  release(reservation, 'EXPIRED')
  reply[#reply + 1] = reservation
end
return reply

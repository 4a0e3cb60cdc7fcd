-- Frees holds whose time has come, a bounded number of them.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: batch
-- Reply: EXPIRED more next_ms reservation… | NO_EVENT
--   more: 1 when as many as were asked for were due; next_ms: when the next one ends, from now; empty when none does
-- Includes: clock changed seats tally items hold drop release
local batch = tonumber(ARGV[1])
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local due = redis.call('ZRANGEBYSCORE', k.ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, batch)
local reply = { 'EXPIRED', #due == batch and '1' or '0', '' }
for _, reservation in ipairs(due) do
  release(reservation, 'EXPIRED')
  reply[#reply + 1] = reservation
end
local first = redis.call('ZRANGE', k.ends, 0, 0, 'WITHSCORES')
if first[1] then reply[3] = math.max(0, tonumber(first[2]) - now) end
return reply

-- Frees holds whose time has come, a bounded number of them.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: batch
-- Reply: EXPIRED more next_ms origin taken expired given_up reservation… | NO_EVENT
--   more: 1 when as many as were asked for were due; next_ms: when the next one ends, from now; empty when none does
--   origin taken expired given_up: what was counted so far, and the name of the data; empty when nothing was
-- Includes: clock changed seats tally items hold drop release
local batch = tonumber(ARGV[1])
local meta = redis.call('HMGET', k.meta, 'revision', 'origin', 'taken', 'expired', 'given_up')
if not meta[1] then return { 'NO_EVENT' } end
local due = redis.call('ZRANGEBYSCORE', k.ends, '-inf', string.format('%.0f', now), 'LIMIT', 0, batch)
local expired = string.format('%.0f', (meta[4] or 0) + #due)
local reply = { 'EXPIRED', #due == batch and '1' or '0', '', meta[2] or '', meta[3] or '0', expired, meta[5] or '0' }
for _, reservation in ipairs(due) do
  release(reservation, 'EXPIRED')
  reply[#reply + 1] = reservation
end
count_released('EXPIRED', #due)
local first = redis.call('ZRANGE', k.ends, 0, 0, 'WITHSCORES')
if first[1] then reply[3] = math.max(0, tonumber(first[2]) - now) end
return reply

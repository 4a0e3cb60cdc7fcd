-- Reads which holds were pinned that long ago, the oldest first, a bounded number of them.
--
-- KEYS: meta holds pins
-- ARGV: for_ms batch
-- Reply: HOLDS (reservation record)… | NO_EVENT
-- Includes: clock
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local limit = string.format('%.0f', now - tonumber(ARGV[1]))
local reply = { 'HOLDS' }
for _, reservation in ipairs(redis.call('ZRANGEBYSCORE', k.pins, '-inf', limit, 'LIMIT', 0, tonumber(ARGV[2]))) do
  local text = redis.call('HGET', k.holds, reservation)
  if text then
    reply[#reply + 1] = reservation
    reply[#reply + 1] = text
  end
end
return reply

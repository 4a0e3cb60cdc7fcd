-- Reads unpinned holds, those that end first first, a bounded number of them.
--
-- KEYS: meta holds ends
-- ARGV: skip batch
-- Reply: HOLDS (reservation record)… | NO_EVENT
-- Includes:
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local first = tonumber(ARGV[1])
local reply = { 'HOLDS' }
for _, reservation in ipairs(redis.call('ZRANGE', k.ends, first, first + tonumber(ARGV[2]) - 1)) do
  local text = redis.call('HGET', k.holds, reservation)
  if text then
    reply[#reply + 1] = reservation
    reply[#reply + 1] = text
  end
end
return reply

-- Reads the holds of a visitor.
--
-- KEYS: meta holds visitors
-- ARGV: visitor
-- Reply: HOLDS (reservation record)… | NO_EVENT
-- Includes: items
local visitor = ARGV[1]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local reply = { 'HOLDS' }
for kind, reservation in items(items_of(visitor)) do
  local text = kind == 'h' and redis.call('HGET', k.holds, reservation)
  if text then
    reply[#reply + 1] = reservation
    reply[#reply + 1] = text
  end
end
return reply

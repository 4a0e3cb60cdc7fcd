#!lua flags=allow-oom
-- What is left of what people wait for; older news than the last changes nothing. The line closes when nothing is left
-- and nothing is held, and opens again as its policy says.
-- includes: open
-- KEYS: META
-- ARGV: EXPECTED EVENT LEFT HELD AT
-- reply: OK now generation
local meta, refusal = open('sold_out', 'left', 'held', 'stock_at', 'reopens')
if refusal then
  return refusal
end
local known_at = tonumber(meta[5])
if known_at and tonumber(AT) <= known_at then
  return {OK, now, meta[1]}
end
redis.call('HSET', META, 'left', LEFT, 'held', HELD, 'stock_at', AT)
local was_closed, was_out, is_out = meta[2] == '1', meta[3] == '0' and meta[4] == '0', LEFT == '0' and HELD == '0'
local closed
if is_out then
  -- Only a change closes the line: an operator may resume one that is sold out.
  closed = not was_out or was_closed
else
  closed = was_closed and meta[6] ~= '1'
end
if closed ~= was_closed then
  redis.call('HSET', META, 'sold_out', closed and 1 or 0)
  redis.call('HINCRBY', META, 'version', 1)
  redis.call('PUBLISH', EVENTS_CHANNEL, EVENT)
end
return {OK, now, meta[1]}

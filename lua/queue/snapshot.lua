#!lua flags=no-writes
-- The state of the line at one instant, with the presence bitmap from the head of the line to its tail.
-- includes: open joined_at summary
-- KEYS: META WAITING PRESENT ACTIVE JOINED
-- ARGV: EXPECTED
-- reply: OK now generation first_byte present summary...
-- summary: as of describe.
local meta, refusal = open('version', 'paused', 'draining', 'seq', 'admitted', 'abandoned', 'released', 'expired',
  'admit_not_before', 'sold_out', 'left', 'held', 'stock_at')
if refusal then
  return refusal
end
local reply = {OK, now, meta[1], 0, ''}
local head, tail = summary(reply, meta)
if head then
  local first, last = math.floor(head / 8), math.floor(tail / 8)
  reply[4], reply[5] = first, redis.call('GETRANGE', PRESENT, first - base / 8, last - base / 8)
end
return reply

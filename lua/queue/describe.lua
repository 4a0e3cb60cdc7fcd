#!lua flags=no-writes
-- Everything an operator or a newly started node wants to know.
-- includes: open joined_at summary
-- KEYS: META WAITING ACTIVE JOINED
-- ARGV: EXPECTED
-- reply: OK now generation policy summary...
-- summary: version paused draining seq admitted abandoned released expired admit_not_before sold_out left held stock_at
-- waiting active next_end oldest_joined; left, held, stock_at and the last two, in ms, or false.
local meta, refusal = open('version', 'paused', 'draining', 'seq', 'admitted', 'abandoned', 'released', 'expired',
  'admit_not_before', 'sold_out', 'left', 'held', 'stock_at', 'policy')
if refusal then
  return refusal
end
local reply = {OK, now, meta[1], meta[15]}
summary(reply, meta)
return reply

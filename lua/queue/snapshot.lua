#!lua flags=no-writes
-- The state of the line at one instant, and where the presence bitmap has it: its bytes are fetched by a command
-- beside this script, for Lua would read each of them.
-- includes: open joined_at summary
-- KEYS: META WAITING ACTIVE JOINED
-- ARGV: EXPECTED
-- reply: OK now generation base head tail summary...
-- base: the rank of the first bit. head, tail: ranks, or false if nobody waits. summary: as of describe.
local meta, refusal = open('version', 'paused', 'draining', 'seq', 'admitted', 'abandoned', 'released', 'expired',
  'admit_not_before', 'sold_out', 'left', 'held', 'stock_at')
if refusal then
  return refusal
end
local reply = {OK, now, meta[1], base, false, false}
local head, tail = summary(reply, meta)
reply[5], reply[6] = head or false, tail or false
return reply

#!lua
-- Takes note of ranks that were heard of in a period: the bytes of a bitmap from one byte on. Bits that
-- other nodes have set stay.
-- includes: open
-- KEYS: META SEEN SCRATCH SCRATCH2
-- ARGV: EXPECTED PERIOD FIRST_BYTE BYTES
-- reply: OK now generation
-- SEEN: of PERIOD: the current one or one of the two before; of another one nothing is noted.
local meta, refusal = open('grace_periods')
if refusal then
  return refusal
end
local age = math.floor(now / SEEN_PERIOD_MS) - tonumber(PERIOD)
if #BYTES > 0 and age >= 0 and age <= 2 then
  local first = tonumber(FIRST_BYTE)
  local known = redis.call('GETRANGE', SEEN, first, first + #BYTES - 1)
  local bytes = BYTES
  if known ~= '' then
    redis.call('SET', SCRATCH, known)
    redis.call('SET', SCRATCH2, BYTES)
    redis.call('BITOP', 'OR', SCRATCH, SCRATCH, SCRATCH2)
    bytes = redis.call('GET', SCRATCH)
    redis.call('DEL', SCRATCH, SCRATCH2)
  end
  redis.call('SETRANGE', SEEN, first, bytes)
  redis.call('PEXPIRE', SEEN, (meta[2] + 2) * SEEN_PERIOD_MS)
end
return {OK, now, meta[1]}

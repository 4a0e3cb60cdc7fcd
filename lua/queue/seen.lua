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
  local first, bytes = tonumber(FIRST_BYTE) - base / 8, BYTES
  if first < 0 then
    -- Nobody who waits is before the base.
    first, bytes = 0, string.sub(bytes, 1 - first)
  end
  if bytes == '' then
    return {OK, now, meta[1]}
  end
  local known = redis.call('GETRANGE', SEEN, first, first + #bytes - 1)
  if known ~= '' then
    redis.call('SET', SCRATCH, known)
    redis.call('SET', SCRATCH2, bytes)
    redis.call('BITOP', 'OR', SCRATCH, SCRATCH, SCRATCH2)
    bytes = redis.call('GET', SCRATCH)
    redis.call('DEL', SCRATCH, SCRATCH2)
  end
  redis.call('SETRANGE', SEEN, first, bytes)
  local size = redis.call('STRLEN', SEEN)
  if age > 0 and first + #bytes == size and size <= SEEN_COMPACT_BYTES_MAX then
    -- A string that grew has room for as much again, and in a period that is over there is little to come: whoever
    -- tells of its end makes it anew, as long as it is.
    redis.call('BITOP', 'OR', SEEN, SEEN)
  end
  redis.call('PEXPIRE', SEEN, (meta[2] + 2) * SEEN_PERIOD_MS)
end
return {OK, now, meta[1]}

#!lua flags=allow-oom
-- Ends those who wait at a rank or before, a batch at most. For SOLD_OUT only while the line is closed for that.
-- includes: open rotate_ended end_waiters clear_head
-- KEYS: META WAITING PRESENT ENDED ENDED_OLD
-- ARGV: EXPECTED UPTO REASON
-- reply: OK now generation count
local meta, refusal = open('sold_out')
if refusal then
  return refusal
end
if REASON == 'SOLD_OUT' and meta[2] ~= '1' then
  return {OK, now, meta[1], 0}
end
local first = redis.call('ZRANGEBYSCORE', WAITING, '-inf', UPTO, 'WITHSCORES', 'LIMIT', 0, END_BATCH_MAX)
local visitors, ranks, bits = {}, {}, {}
for i = 1, #first / 2 do
  visitors[i], ranks[i], bits[i] = first[2 * i - 1], first[2 * i], tonumber(first[2 * i])
end
if #visitors > 0 then
  end_waiters(visitors, ranks, REASON)
  clear_head(bits)
end
return {OK, now, meta[1], #visitors}

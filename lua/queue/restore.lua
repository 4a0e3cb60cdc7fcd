#!lua
-- Puts waiters that were abandoned by mistake back at their own rank.
-- includes: open
-- KEYS: META WAITING PRESENT ACTIVE ENDED ENDED_OLD SEEN
-- ARGV: EXPECTED PERIOD VISITORS_AND_SEQS...
-- reply: OK now generation restored...
-- SEEN: of PERIOD, the current one. restored: 1 where the visitor is back, else 0.
local meta, refusal = open('grace_periods')
if refusal then
  return refusal
end
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, meta[1], tonumber(meta[2])}
end
local reply, back = {OK, now, meta[1]}, 0
for i = 1, #VISITORS_AND_SEQS, 2 do
  local visitor, rank = VISITORS_AND_SEQS[i], VISITORS_AND_SEQS[i + 1]
  local elsewhere = redis.call('ZSCORE', WAITING, visitor) or redis.call('ZSCORE', ACTIVE, visitor)
  local ended = redis.call('HGET', ENDED, visitor) or redis.call('HGET', ENDED_OLD, visitor)
  local restored = not elsewhere and ended == rank .. ':ABANDONED'
  if restored then
    redis.call('HDEL', ENDED, visitor)
    redis.call('HDEL', ENDED_OLD, visitor)
    redis.call('ZADD', WAITING, rank, visitor)
    redis.call('SETBIT', PRESENT, rank, 1)
    redis.call('SETBIT', SEEN, rank, 1)
    back = back + 1
  end
  reply[#reply + 1] = restored and 1 or 0
end
if back > 0 then
  redis.call('HINCRBY', META, 'abandoned', -back)
  redis.call('PEXPIRE', SEEN, (meta[2] + 2) * SEEN_PERIOD_MS)
end
return reply

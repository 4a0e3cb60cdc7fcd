#!lua
-- Puts waiters that were abandoned by mistake back at their own rank.
-- includes: open
-- KEYS: META WAITING PRESENT ACTIVE ENDED ENDED_OLD SEEN
-- ARGV: EXPECTED PERIOD VISITORS_AND_SEQS...
-- reply: OK now generation restored...
-- SEEN: of PERIOD, the current one. restored: 1 where the visitor is back, else 0.
local meta, refusal = open('grace_periods', 'low', 'low1')
if refusal then
  return refusal
end
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, meta[1], tonumber(meta[2])}
end
local reply = {OK, now, meta[1]}
local visitors, ranks = {}, {}
for i = 1, #VISITORS_AND_SEQS, 2 do
  visitors[#visitors + 1], ranks[#ranks + 1] = VISITORS_AND_SEQS[i], VISITORS_AND_SEQS[i + 1]
end
if #visitors == 0 then
  return reply
end
local waits, is_in = redis.call('ZMSCORE', WAITING, unpack(visitors)), redis.call('ZMSCORE', ACTIVE, unpack(visitors))
local ended, before = redis.call('HMGET', ENDED, unpack(visitors)), redis.call('HMGET', ENDED_OLD, unpack(visitors))
local back, done, lowest = {}, {}, math.huge
local places, bits = {}, {}
for i, visitor in ipairs(visitors) do
  -- Before the base, see trim, nobody can be.
  local rank, elsewhere = ranks[i], waits[i] or is_in[i] or done[visitor] or tonumber(ranks[i]) < base
  local restored = not elsewhere and (ended[i] or before[i]) == rank .. ':ABANDONED'
  if restored then
    done[visitor] = true
    back[#back + 1] = visitor
    lowest = math.min(lowest, tonumber(rank))
    local place, at_bit = #places, #bits
    places[place + 1], places[place + 2] = rank, visitor
    bits[at_bit + 1], bits[at_bit + 2], bits[at_bit + 3], bits[at_bit + 4] = 'SET', 'u1', rank - base, 1
  end
  reply[#reply + 1] = restored and 1 or 0
end
if #back > 0 then
  redis.call('ZADD', WAITING, unpack(places))
  redis.call('BITFIELD', PRESENT, unpack(bits))
  redis.call('BITFIELD', SEEN, unpack(bits))
  redis.call('HDEL', ENDED, unpack(back))
  redis.call('HDEL', ENDED_OLD, unpack(back))
  redis.call('HINCRBY', META, 'abandoned', -#back)
  -- See trim.
  redis.call('HSET', META, 'low', math.min(tonumber(meta[3]) or 0, lowest),
    'low1', math.min(tonumber(meta[4]) or 0, lowest))
  redis.call('PEXPIRE', SEEN, (meta[2] + 2) * SEEN_PERIOD_MS)
end
return reply

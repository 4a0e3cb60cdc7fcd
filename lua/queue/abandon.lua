#!lua
-- Removes waiters whom nobody heard of for the grace: those in one stretch of the bitmap, a batch at most.
-- includes: open rotate_ended end_waiters clear_gone
-- KEYS: META WAITING PRESENT ENDED ENDED_OLD SCRATCH SCRATCH2 SEEN...
-- ARGV: EXPECTED PERIOD GRACE_PERIODS FIRST_BYTE LEN
-- reply: OK now generation visitor...
-- SEEN: of PERIOD, the current one, and of the GRACE_PERIODS before it, the newest first.
local RUN_BYTES_MAX = 16
local meta, refusal = open('grace_ms', 'grace_periods', 'swept', 'sweep_not_before')
if refusal then
  return refusal
end
local generation, not_before = meta[1], tonumber(meta[5])
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) or GRACE_PERIODS ~= meta[3] then
  return {STALE_PERIOD, now, generation, tonumber(meta[3])}
end
-- Nobody looked for longer than a period: the store was away, or every node was; or its clock was set back.
-- Those who are there must first be heard again.
if math.abs(now - tonumber(meta[4])) > SEEN_PERIOD_MS then
  not_before = now + tonumber(meta[2]) + SEEN_PERIOD_MS
end
redis.call('HSET', META, 'swept', now, 'sweep_not_before', not_before)
local reply = {OK, now, generation}
-- The stretch as bytes of the bitmaps, which begin at `base`; nobody is before that.
local from, to = tonumber(FIRST_BYTE) - base / 8, tonumber(FIRST_BYTE) + tonumber(LEN) - 1 - base / 8
from = math.max(from, 0)
local first = from + base / 8
local present = to >= from and redis.call('GETRANGE', PRESENT, from, to) or ''
if now < not_before or not string.find(present, '%Z') then
  return reply
end

-- Who was not heard of in the newest period, then who of these was not in the one before, and so on: mostly there is
-- nobody left soon. Without those heard = (left OR heard) XOR heard, which also serves where `heard` is the shorter.
-- The oldest one still counts while other nodes may not have told whom they heard in the period before this.
redis.call('SET', SCRATCH, present)
local counted = now % SEEN_PERIOD_MS >= SEEN_SETTLE_MS and #SEEN - 1 or #SEEN
for i = 1, counted do
  local heard = redis.call('GETRANGE', SEEN[i], from, to)
  if heard ~= '' then
    redis.call('SET', SCRATCH2, heard)
    redis.call('BITOP', 'OR', SCRATCH, SCRATCH, SCRATCH2)
    redis.call('BITOP', 'XOR', SCRATCH, SCRATCH, SCRATCH2)
    if redis.call('BITPOS', SCRATCH, 1) < 0 then
      redis.call('DEL', SCRATCH, SCRATCH2)
      return reply
    end
  end
end
local gone = redis.call('GET', SCRATCH)
local at = string.find(gone, '%Z')
local first_gone = at
redis.call('SET', SCRATCH2, present)
redis.call('BITOP', 'XOR', SCRATCH2, SCRATCH2, SCRATCH)
local kept = redis.call('GET', SCRATCH2)
redis.call('DEL', SCRATCH, SCRATCH2)

local visitors, ranks = {}, {}
while at and #ranks < SWEEP_BATCH_MAX do
  -- Who is in this byte and in those that follow without a gap: one call finds them, and those who are not gone.
  local last = at
  while last - at < RUN_BYTES_MAX and (string.byte(gone, last + 1) or 0) > 0 do
    last = last + 1
  end
  local found = redis.call('ZRANGEBYSCORE', WAITING, (first + at - 1) * 8, (first + last - 1) * 8 + 7, 'WITHSCORES')
  for i = 1, #found, 2 do
    local rank = tonumber(found[i + 1])
    local byte = string.byte(gone, math.floor(rank / 8) - first + 1)
    if #ranks < SWEEP_BATCH_MAX and bit.band(byte, 2 ^ (7 - rank % 8)) ~= 0 then
      visitors[#visitors + 1], ranks[#ranks + 1] = found[i], found[i + 1]
      reply[#reply + 1] = found[i]
    end
  end
  at = string.find(gone, '%Z', last + 1)
end
if #ranks > 0 then
  end_waiters(visitors, ranks, 'ABANDONED')
  clear_gone(first, first_gone, kept, gone, tonumber(ranks[#ranks]))
end
return reply

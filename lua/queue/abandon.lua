#!lua
-- Removes waiters whom nobody heard of for the grace: those in one stretch of the bitmap, a batch at most.
-- includes: open rotate_ended end_waiters
-- KEYS: META WAITING PRESENT ENDED ENDED_OLD SCRATCH SCRATCH2 SEEN...
-- ARGV: EXPECTED PERIOD GRACE_PERIODS FIRST_BYTE LEN
-- reply: OK now generation visitor...
-- SEEN: of PERIOD, the current one, and of the GRACE_PERIODS before it, the newest first.
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
local first, len = tonumber(FIRST_BYTE), tonumber(LEN)
local present = len > 0 and redis.call('GETRANGE', PRESENT, first, first + len - 1) or ''
if now < not_before or not string.find(present, '%Z') then
  return reply
end

-- gone = (present OR seen) XOR seen, which also serves where seen is the shorter.
redis.call('SET', SCRATCH2, '')
-- The oldest one still counts while other nodes may not have told whom they heard in the period before this.
local counted = now % SEEN_PERIOD_MS >= SEEN_SETTLE_MS and #SEEN - 1 or #SEEN
for i = 1, counted do
  local heard = redis.call('GETRANGE', SEEN[i], first, first + len - 1)
  if heard ~= '' then
    redis.call('SET', SCRATCH, heard)
    redis.call('BITOP', 'OR', SCRATCH2, SCRATCH2, SCRATCH)
  end
end
redis.call('SET', SCRATCH, present)
redis.call('BITOP', 'OR', SCRATCH, SCRATCH, SCRATCH2)
redis.call('BITOP', 'XOR', SCRATCH, SCRATCH, SCRATCH2)
local gone = redis.call('GET', SCRATCH) or ''
redis.call('DEL', SCRATCH, SCRATCH2)

local visitors, ranks = {}, {}
local at = string.find(gone, '%Z')
while at and #ranks < END_BATCH_MAX do
  local byte = string.byte(gone, at)
  for offset = 0, 7 do
    if bit.band(byte, 2 ^ (7 - offset)) ~= 0 and #ranks < END_BATCH_MAX then
      local rank = (first + at - 1) * 8 + offset
      local visitor = redis.call('ZRANGEBYSCORE', WAITING, rank, rank)[1]
      if visitor then
        visitors[#visitors + 1], ranks[#ranks + 1] = visitor, rank
        reply[#reply + 1] = visitor
      end
    end
  end
  at = string.find(gone, '%Z', at + 1)
end
if #visitors > 0 then
  end_waiters(visitors, ranks, 'ABANDONED')
end
return reply

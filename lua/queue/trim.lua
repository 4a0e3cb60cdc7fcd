#!lua flags=allow-oom
-- Forgets what was kept of those who have gone for long enough, and lets the bitmaps begin nearer to the head of the
-- line, if what is left of them is little enough to be moved at once.
-- includes: open rotate_ended
-- KEYS: META WAITING PRESENT ENDED ENDED_OLD SEEN...
-- ARGV: EXPECTED PERIOD
-- reply: OK now generation
-- SEEN: of PERIOD, the current one, of all before it that a grace may reach, and of some to come and before that, should
-- the clock have been set.
-- Whoever is put back at their own rank is in one of the two logs of the ended, so ended after the older one was begun.
-- The base therefore follows `low2`: the lowest rank in line when somebody looked in the time of the log before these.
-- `low1` and `low` are the same for the older and the newer log, the newer one begun at `low_rotated`.
local meta, refusal = open('grace_periods', 'seq', 'rotated', 'low', 'low1', 'low2', 'low_rotated')
if refusal then
  return refusal
end
local generation = meta[1]
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, generation, tonumber(meta[2])}
end
local reply = {OK, now, generation}
rotate_ended()
local head = tonumber(redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES')[2]) or tonumber(meta[3]) + 1
local low, low1, low2 = tonumber(meta[5]) or 0, tonumber(meta[6]) or 0, tonumber(meta[7]) or 0
if meta[4] ~= meta[8] then
  low, low1, low2 = head, low, low1
  redis.call('HSET', META, 'low', low, 'low1', low1, 'low2', low2, 'low_rotated', meta[4])
end
local to = math.min(head, low, low1, low2)
to = to - to % BITMAP_BASE_RANKS
if to <= base then
  return reply
end

local shift, left, there = (to - base) / 8, 0, {}
for _, key in ipairs({PRESENT, unpack(SEEN)}) do
  local size = redis.call('STRLEN', key)
  if size > 0 then
    there[#there + 1] = key
    left = left + math.max(size - shift, 0)
  end
end
if left > TRIM_BYTES_MAX then
  return reply
end
for _, key in ipairs(there) do
  local rest = redis.call('GETRANGE', key, shift, -1)
  if rest == '' then
    redis.call('UNLINK', key)
  else
    redis.call('SET', key, rest, 'KEEPTTL')
  end
end
redis.call('HSET', META, 'base', to)
return reply

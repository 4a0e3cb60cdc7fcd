-- Makes a hold last longer by up to add_ms; refused when less than at_least_ms is possible.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: reservation visitor add_ms at_least_ms
-- Reply: HOLD reservation record | NOT_FOUND | EXPIRED | NOT_HELD | EXTENSION_LIMIT extensions left_ms | NO_EVENT
-- Includes: clock changed seats tally items hold drop release live
local EXTENSIONS_MAX, HOLD_LIFE_MS_MAX = 2, 900000
local reservation, visitor, add_ms, at_least_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local hold, refused = live(reservation, visitor)
if not hold then
  if refused[1] == 'PAST' then return { 'EXPIRED' } end
  return refused
end
if hold.pinned ~= '0' then return { 'NOT_HELD' } end
local before = tonumber(hold.until_)
local last = tonumber(hold.created) + HOLD_LIFE_MS_MAX
local until_ = math.min(before + add_ms, last)
if tonumber(hold.extensions) >= EXTENSIONS_MAX or until_ < before + at_least_ms then
  return { 'EXTENSION_LIMIT', hold.extensions, math.max(0, last - before) }
end
hold.until_ = string.format('%.0f', until_)
hold.extensions = string.format('%.0f', tonumber(hold.extensions) + 1)
local text = hold_text(hold)
redis.call('HSET', k.holds, reservation, text)
redis.call('ZADD', k.ends, hold.until_, reservation)
return { 'HOLD', reservation, text }

-- From now on the hold does not expire: it is being booked. Again and again is fine.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: reservation visitor
-- Reply: HOLD reservation record | NOT_FOUND | EXPIRED | NO_EVENT
-- Includes: clock changed seats tally items hold drop release live
local reservation, visitor = ARGV[1], ARGV[2]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local hold, refused = live(reservation, visitor)
if not hold then
  if refused[1] == 'PAST' then return { 'EXPIRED' } end
  return refused
end
hold.pinned = string.format('%.0f', now)
local text = hold_text(hold)
redis.call('HSET', k.holds, reservation, text)
redis.call('ZREM', k.ends, reservation)
redis.call('ZADD', k.pins, hold.pinned, reservation)
return { 'HOLD', reservation, text }

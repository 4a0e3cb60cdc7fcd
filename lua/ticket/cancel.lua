-- Gives a hold up. What became of one that is gone already is answered as it was.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: reservation visitor
-- Reply: PAST state reservation record | NOT_FOUND | EXPIRED | NOT_HELD | NO_EVENT
-- Includes: clock changed seats tally items hold drop release live
local reservation, visitor = ARGV[1], ARGV[2]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local hold, refused = live(reservation, visitor)
if not hold then return refused end
if hold.pinned ~= '0' then return { 'NOT_HELD' } end
release(reservation, 'CANCELLED')
count_released('CANCELLED', 1)
return { 'PAST', 'CANCELLED', reservation, hold_text(hold) }

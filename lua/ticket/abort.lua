-- Frees a pinned hold that the ledger will never book. Anything else is left alone.
--
-- KEYS: meta seats holds ends pins visitors tallies past past_until log
-- ARGV: reservation
-- Reply: DONE | NO_EVENT
-- Includes: clock changed seats tally items hold drop release
local reservation = ARGV[1]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local text = redis.call('HGET', k.holds, reservation)
if text and parse_hold(text).pinned ~= '0' then
  release(reservation, 'EXPIRED')
  count_released('EXPIRED', 1)
end
return { 'DONE' }

-- The hold is not being booked after all, and expires as it would have.
--
-- KEYS: meta holds ends pins
-- ARGV: reservation
-- Reply: DONE | NO_EVENT
-- Includes: hold
local reservation = ARGV[1]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local text = redis.call('HGET', k.holds, reservation)
if not text then return { 'DONE' } end
local hold = parse_hold(text)
if hold.pinned == '0' then return { 'DONE' } end
hold.pinned = '0'
redis.call('HSET', k.holds, reservation, hold_text(hold))
redis.call('ZREM', k.pins, reservation)
redis.call('ZADD', k.ends, hold.until_, reservation)
return { 'DONE' }

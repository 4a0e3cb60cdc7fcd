-- All bookings are known: holds may be taken.
--
-- KEYS: meta
-- ARGV:
-- Reply: DONE | NO_EVENT
-- Includes:
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
redis.call('HSET', k.meta, 'open', '1')
return { 'DONE' }

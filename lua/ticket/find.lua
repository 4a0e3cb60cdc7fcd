-- Reads one hold, or what became of it.
--
-- KEYS: meta holds past
-- ARGV: reservation
-- Reply: HOLD reservation record | PAST state reservation record | NOT_FOUND | NO_EVENT
-- Includes:
local reservation = ARGV[1]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local text = redis.call('HGET', k.holds, reservation)
if text then return { 'HOLD', reservation, text } end
local past = redis.call('HGET', k.past, reservation)
if not past then return { 'NOT_FOUND' } end
local state, record = string.match(past, '^(%u+) (.+)$')
return { 'PAST', state, reservation, record }

-- Closes a session that has a booking and whose visitor holds nothing: decided and marked in one step, which
-- the taking of a hold checks.
--
-- KEYS: meta visitors ended
-- ARGV: visitor jti
-- Reply: CLOSED | NOT_DONE | NO_EVENT
-- Includes: clock items ended
local visitor, jti = ARGV[1], ARGV[2]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local booked = false
for kind, _, _, session in items(items_of(visitor)) do
  if kind == 'h' then return { 'NOT_DONE' } end
  if session == jti then booked = true end
end
if not booked then return { 'NOT_DONE' } end
mark_ended(jti)
return { 'CLOSED' }

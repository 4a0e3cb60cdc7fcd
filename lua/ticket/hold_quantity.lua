-- Takes tickets of a type without seats.
--
-- KEYS: meta holds ends visitors ended tallies log
-- ARGV: revision reservation visitor jti hold_ms limit total kind count quantity
--   count: how many are wanted; quantity: how many there are in all
-- Reply: HOLD reservation record | SOLD_OUT | LIMIT_EXCEEDED | SESSION_ENDED | STALE | NOT_OPEN | NO_EVENT
-- Includes: clock changed tally items hold take
local revision, reservation, visitor, jti, hold_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, total, kind, count, quantity = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
local refused = before_taking(revision, reservation, jti)
if refused then return refused end
local held, sold = tally(kind)
if held + sold + tonumber(count) > quantity then return { 'SOLD_OUT' } end
local has = items_of(visitor)
if count_of(has) + tonumber(count) > limit then return { 'LIMIT_EXCEEDED' } end
put_tally(kind, held + tonumber(count), sold)
changed(1, '-')
return add_hold(reservation, visitor, jti, hold_ms, total, 'G', kind, count, has)

-- Takes seats, all or none. Reads before it writes: in a rush most are refused, and a refusal must be cheap.
--
-- KEYS: meta seats holds ends visitors ended log
-- ARGV: revision reservation visitor jti hold_ms limit total seats count
--   seats: indexes parted by commas, none twice
-- Reply: HOLD reservation record | TAKEN seats | LIMIT_EXCEEDED | SESSION_ENDED | STALE | NOT_OPEN | NO_EVENT
-- Includes: clock changed seats items hold take
local revision, reservation, visitor, jti, hold_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local limit, total, seats, count = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[9]
local refused = before_taking(revision, reservation, jti)
if refused then return refused end
local list = seat_list(seats)
local taken = {}
for i, bits in ipairs(seat_states(list)) do
  if bits ~= 0 then taken[#taken + 1] = list[i] end
end
if #taken > 0 then return { 'TAKEN', table.concat(taken, ',') } end
local has = items_of(visitor)
if count_of(has) + tonumber(count) > limit then return { 'LIMIT_EXCEEDED' } end
set_seats(list, 1)
changed(1, seats)
return add_hold(reservation, visitor, jti, hold_ms, total, 'S', seats, count, has)

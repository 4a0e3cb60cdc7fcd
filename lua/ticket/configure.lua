-- Creates an event (expected 0) or changes it, all or nothing.
--
-- KEYS: meta seats tallies log
-- ARGV: expected revision epoch seats blocked_count blocked quantities
--   blocked: two bits for each seat index, 3 = taken out; empty when none is
--   quantities: type=quantity, parted by commas
-- Reply: DONE | NO_EVENT | STALE | IN_USE
-- Includes: reshape
local expected, revision, epoch, count = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local blocked_count, blocked, quantities = ARGV[5], ARGV[6], ARGV[7]
local before = redis.call('HMGET', k.meta, 'revision', 'open', 'blocked')
if not before[1] then
  if expected ~= '0' then return { 'NO_EVENT' } end
elseif before[1] ~= expected and (expected ~= '0' or before[2] == '1') then
  return { 'STALE' }
end
local quantity = {}
for kind, n in string.gmatch(quantities, '([^,=]+)=(%d+)') do quantity[kind] = tonumber(n) end
local tallies = redis.call('HGETALL', k.tallies)
for i = 1, #tallies, 2 do
  local held, sold = string.match(tallies[i + 1], '^(%d+) (%d+)$')
  local most = quantity[tallies[i]]
  if not most or tonumber(held) + tonumber(sold) > most then return { 'IN_USE' } end
end
local seats = grown(redis.call('GET', k.seats) or '', count)
if blocked_count ~= '0' or (before[3] or '0') ~= '0' then
  seats = reshaped(seats, blocked, false)
  if not seats then return { 'IN_USE' } end
end
put_shape(before, revision, epoch, count, blocked_count, seats)
return { 'DONE' }

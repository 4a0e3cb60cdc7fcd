-- Brings the store to the ledger's definition, whatever it believed. A sale made this way is not open.
--
-- KEYS: meta seats log
-- ARGV: revision epoch seats blocked_count blocked
--   blocked: two bits for each seat index, 3 = taken out; empty when none is
-- Reply: DONE
-- Includes: reshape
local revision, epoch, count, blocked_count, blocked = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local before = redis.call('HMGET', k.meta, 'revision', 'open', 'blocked')
if before[1] == revision then
  -- Data from before anything was counted has no name yet.
  redis.call('HSETNX', k.meta, 'origin', epoch)
  return { 'DONE' }
end
local seats = grown(redis.call('GET', k.seats) or '', count)
if blocked_count ~= '0' or (before[3] or '0') ~= '0' then seats = reshaped(seats, blocked, true) end
put_shape(before, revision, epoch, count, blocked_count, seats)
return { 'DONE' }

-- Frees what was booked and is not any more. A booking that the visitor does not have is left alone: its seats
-- may be somebody else's by now.
--
-- KEYS: meta seats visitors tallies log
-- ARGV: reservation visitor kind what count
-- Reply: DONE | NO_EVENT
-- Includes: changed seats tally items
local reservation, visitor, kind, what, count = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local has = items_of(visitor)
local kept = without_item(has, 's,' .. reservation .. ',')
if kept == has then return { 'DONE' } end
put_items(visitor, kept)
local freed = {}
if kind == 'S' then
  local list = seat_list(what)
  for i, bits in ipairs(seat_states(list)) do
    if bits == 2 then freed[#freed + 1] = list[i] end
  end
  if #freed > 0 then set_seats(freed, 0) end
else
  local held, sold = tally(what)
  put_tally(what, held, math.max(0, sold - count))
end
changed(0, #freed > 0 and table.concat(freed, ',') or '-')
return { 'DONE' }

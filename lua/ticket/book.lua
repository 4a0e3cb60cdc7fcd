-- Marks bookings sold, whatever the store believed. Idempotent. At most 64 at a time.
--
-- KEYS: meta seats holds ends pins visitors tallies log
-- ARGV: bookings
--   bookings: one a line: reservation visitor jti kind what count
-- Reply: DONE | NO_EVENT
-- Includes: changed seats tally items hold drop
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
local function book(reservation, visitor, jti, kind, what, count)
  local held = drop_hold(reservation)
  local has = items_of(visitor)
  local counted = string.find(' ' .. has, ' s,' .. reservation .. ',', 1, true)
  if not counted then put_items(visitor, with_item(has, table.concat({ 's', reservation, count, jti }, ','))) end
  if kind == 'S' then
    local list = seat_list(what)
    local unsold = {}
    for i, bits in ipairs(seat_states(list)) do
      if bits ~= 2 then unsold[#unsold + 1] = list[i] end
    end
    if #unsold > 0 then
      set_seats(unsold, 2)
      changed(2, table.concat(unsold, ','))
    end
  elseif not counted then
    local n = tonumber(count)
    local h, s = tally(what)
    put_tally(what, math.max(0, h - (held and n or 0)), s + n)
    changed(2, '-')
  end
end
for line in string.gmatch(ARGV[1], '[^\n]+') do
  book(string.match(line, '^(%S+) (%S+) (%S+) (%a) (%S+) (%d+)$'))
end
return { 'DONE' }

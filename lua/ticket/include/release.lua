-- Takes a hold away and frees what it held; a seat that was sold meanwhile stays sold.
-- Needs: clock, changed, seats, tally, items, hold, drop.
local PAST_KEPT_MS = 3600000
local PAST_HOLDS_MAX = 100000
-- One call for all that a script lets go of.
local function count_released(state, n)
  if n > 0 then redis.call('HINCRBY', k.meta, state == 'EXPIRED' and 'expired' or 'given_up', n) end
end
local function release(reservation, state)
  local hold, text = drop_hold(reservation)
  if not hold then return end
  local freed = {}
  if hold.kind == 'S' then
    local list = seat_list(hold.what)
    for i, bits in ipairs(seat_states(list)) do
      if bits == 1 then freed[#freed + 1] = list[i] end
    end
    if #freed > 0 then set_seats(freed, 0) end
  else
    local held, sold = tally(hold.what)
    put_tally(hold.what, math.max(0, held - tonumber(hold.count)), sold)
  end
  changed(0, #freed > 0 and table.concat(freed, ',') or '-')
  redis.call('HSET', k.past, reservation, state .. ' ' .. text)
  redis.call('ZADD', k.past_until, string.format('%.0f', now + PAST_KEPT_MS), reservation)
  if redis.call('ZCARD', k.past_until) > PAST_HOLDS_MAX then
    redis.call('HDEL', k.past, redis.call('ZPOPMIN', k.past_until)[1])
  end
end

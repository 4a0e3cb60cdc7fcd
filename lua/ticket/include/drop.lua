-- Takes a hold out of every index, and out of its visitor's items. Needs: hold, items.
local function drop_hold(reservation)
  local text = redis.call('HGET', k.holds, reservation)
  if not text then return nil end
  local hold = parse_hold(text)
  redis.call('HDEL', k.holds, reservation)
  redis.call('ZREM', k.ends, reservation)
  redis.call('ZREM', k.pins, reservation)
  put_items(hold.visitor, without_hold(items_of(hold.visitor), reservation))
  return hold, text
end

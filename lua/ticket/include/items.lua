-- What a visitor has: 'h,reservation,count,jti' for a hold, 's,…' for a booking, parted by spaces.
local function items(text)
  return string.gmatch(text, '(%a),([^,]+),(%d+),([^ ]+)')
end
local function items_of(visitor)
  return redis.call('HGET', k.visitors, visitor) or ''
end
local function put_items(visitor, text)
  if text == '' then
    redis.call('HDEL', k.visitors, visitor)
  else
    redis.call('HSET', k.visitors, visitor, text)
  end
end
local function with_item(text, item)
  if text == '' then return item end
  return text .. ' ' .. item
end
local function without_item(text, start)
  local kept = {}
  for item in string.gmatch(text, '[^ ]+') do
    if string.sub(item, 1, #start) ~= start then kept[#kept + 1] = item end
  end
  return table.concat(kept, ' ')
end
local function without_hold(text, reservation)
  return without_item(text, 'h,' .. reservation .. ',')
end
local function count_of(text)
  local count = 0
  for n in string.gmatch(text, '%a,[^,]+,(%d+),') do count = count + n end
  return count
end

-- What is held and sold of a type without seats; nothing of either is no entry.
local function tally(kind)
  local text = redis.call('HGET', k.tallies, kind)
  if not text then return 0, 0 end
  local held, sold = string.match(text, '^(%d+) (%d+)$')
  return tonumber(held), tonumber(sold)
end
local function put_tally(kind, held, sold)
  if held == 0 and sold == 0 then
    redis.call('HDEL', k.tallies, kind)
  else
    redis.call('HSET', k.tallies, kind, string.format('%.0f %.0f', held, sold))
  end
end

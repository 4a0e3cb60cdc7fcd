-- Checks that the line is there and is the one the caller means.
-- Returns its generation and the values of the META fields asked for, or nil and the refusal.
-- `base` is the rank of the first bit of all its bitmaps.
local base = 0
local function open(...)
  local meta = redis.call('HMGET', META, 'base', 'generation', ...)
  base = tonumber(table.remove(meta, 1)) or 0
  if not meta[1] then
    return nil, {NO_EVENT, now}
  end
  if EXPECTED ~= '' and EXPECTED ~= meta[1] then
    return nil, {STALE_GENERATION, now, meta[1]}
  end
  return meta
end

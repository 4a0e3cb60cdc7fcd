-- What every taking checks first, and what it writes last. Needs: clock, items, hold.
local function before_taking(revision, reservation, jti)
  local meta = redis.call('HMGET', k.meta, 'revision', 'open')
  if not meta[1] then return { 'NO_EVENT' } end
  if meta[1] ~= revision then return { 'STALE' } end
  if meta[2] ~= '1' then return { 'NOT_OPEN' } end
  local text = redis.call('HGET', k.holds, reservation)
  if text then return { 'HOLD', reservation, text } end
  if redis.call('ZSCORE', k.ended, jti) then return { 'SESSION_ENDED' } end
end
local function add_hold(reservation, visitor, jti, hold_ms, total, kind, what, count, has)
  local until_ = string.format('%.0f', now + tonumber(hold_ms))
  local text = hold_text({
    visitor = visitor, jti = jti, created = string.format('%.0f', now), until_ = until_,
    extensions = '0', pinned = '0', total = total, kind = kind, what = what, count = count,
  })
  redis.call('HSET', k.holds, reservation, text)
  redis.call('ZADD', k.ends, until_, reservation)
  put_items(visitor, with_item(has, table.concat({ 'h', reservation, count, jti }, ',')))
  return { 'HOLD', reservation, text }
end

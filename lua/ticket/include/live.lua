-- The visitor's live hold, or nil and the reply that says why not; one whose time is up is freed first.
-- Needs: release and all it needs.
local function live(reservation, visitor)
  local text = redis.call('HGET', k.holds, reservation)
  if not text then
    local past = redis.call('HGET', k.past, reservation)
    if past then
      local state, record = string.match(past, '^(%u+) (.+)$')
      if parse_hold(record).visitor == visitor then return nil, { 'PAST', state, reservation, record } end
    end
    return nil, { 'NOT_FOUND' }
  end
  local hold = parse_hold(text)
  if hold.visitor ~= visitor then return nil, { 'NOT_FOUND' } end
  if hold.pinned == '0' and tonumber(hold.until_) <= now then
    release(reservation, 'EXPIRED')
    count_released('EXPIRED', 1)
    return nil, { 'EXPIRED' }
  end
  return hold
end

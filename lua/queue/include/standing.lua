-- Where a visitor stands, as a reply: see the README.
local function standing(generation, visitor)
  local rank = redis.call('ZSCORE', WAITING, visitor)
  if rank then
    local position = redis.call('ZRANK', WAITING, visitor) + 1
    return {OK, now, generation, 'WAITING', tonumber(rank), position, redis.call('ZCARD', WAITING)}
  end
  local ends = redis.call('ZSCORE', ACTIVE, visitor)
  if ends then
    local seq, expires = string.match(redis.call('HGET', SESSIONS, visitor) or '', '^(%d+):(%d+)$')
    if not seq or tonumber(ends) <= now then
      return {OK, now, generation, 'ENDED', tonumber(seq) or 0, 'EXPIRED'}
    end
    return {OK, now, generation, 'ACTIVE', tonumber(seq), tonumber(expires)}
  end
  local ended = redis.call('HGET', ENDED, visitor) or redis.call('HGET', ENDED_OLD, visitor)
  if ended then
    local seq, reason = string.match(ended, '^(%d+):(.+)$')
    return {OK, now, generation, 'ENDED', tonumber(seq), reason}
  end
  return {OK, now, generation, 'UNKNOWN'}
end

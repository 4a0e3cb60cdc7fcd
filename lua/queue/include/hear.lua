-- A sign of life of the owner of a session whose slot is taken back at `ends`: ends it if its time is over,
-- else claims it. Returns its number and end while it lives.
local function hear(generation, visitor, ends)
  -- A slot without a session, whose key somebody has lost, is given back.
  local seq, expires = string.match(redis.call('HGET', SESSIONS, visitor) or '', '^(%d+):(%d+)$')
  if not seq or tonumber(ends) <= now then
    end_sessions(generation, {visitor}, {seq or '0'}, 'EXPIRED')
    return nil
  end
  if tonumber(ends) < tonumber(expires) then
    redis.call('ZADD', ACTIVE, expires, visitor)
  end
  return tonumber(seq), tonumber(expires)
end

-- A sign of life of the owner of a session whose slot is taken back at `ends`: ends it if its time is over,
-- else claims it. Returns its number and end while it lives.
local function hear(generation, visitor, ends)
  local seq, expires = string.match(redis.call('HGET', SESSIONS, visitor), '^(%d+):(%d+)$')
  if tonumber(ends) <= now then
    end_sessions(generation, {visitor}, {seq}, 'EXPIRED')
    return nil
  end
  if tonumber(ends) < tonumber(expires) then
    redis.call('ZADD', ACTIVE, expires, visitor)
  end
  return tonumber(seq), tonumber(expires)
end

#!lua flags=allow-oom
-- Ends sessions whose time is over, a batch at most.
-- includes: open rfc3339 rotate_ended end_sessions
-- KEYS: META ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT
-- reply: OK now generation count
local meta, refusal = open()
if refusal then
  return refusal
end
local visitors = redis.call('ZRANGEBYSCORE', ACTIVE, '-inf', now, 'LIMIT', 0, SESSIONS_BATCH_MAX)
if #visitors > 0 then
  local seqs = redis.call('HMGET', SESSIONS, unpack(visitors))
  for i, session in ipairs(seqs) do
    -- See hear.
    seqs[i] = string.match(session or '0', '^%d+')
  end
  end_sessions(meta[1], visitors, seqs, 'EXPIRED')
end
return {OK, now, meta[1], #visitors}

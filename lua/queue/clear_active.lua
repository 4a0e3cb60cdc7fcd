#!lua flags=allow-oom
-- Ends sessions, those that end first by time first, a batch at most.
-- includes: open rfc3339 rotate_ended end_sessions
-- KEYS: META ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT
-- reply: OK now generation count
local meta, refusal = open()
if refusal then
  return refusal
end
local visitors = redis.call('ZRANGE', ACTIVE, 0, SESSIONS_BATCH_MAX - 1)
if #visitors > 0 then
  local seqs = redis.call('HMGET', SESSIONS, unpack(visitors))
  for i, session in ipairs(seqs) do
    -- See hear.
    seqs[i] = string.match(session or '0', '^%d+')
  end
  end_sessions(meta[1], visitors, seqs, 'CLEARED')
end
return {OK, now, meta[1], #visitors}

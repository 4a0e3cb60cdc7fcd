#!lua flags=allow-oom
-- Ends the place or session of a visitor: given up, or ended by an operator, as REASON says.
-- includes: open rfc3339 rotate_ended end_sessions end_waiters
-- KEYS: META WAITING PRESENT ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT VISITOR REASON
-- reply: OK now generation was
-- was: WAITING, ACTIVE, or false where there was nothing to end.
local meta, refusal = open()
if refusal then
  return refusal
end
local generation = meta[1]
local rank = redis.call('ZSCORE', WAITING, VISITOR)
if rank then
  end_waiters({VISITOR}, {rank}, REASON)
  redis.call('SETBIT', PRESENT, rank - base, 0)
  return {OK, now, generation, 'WAITING'}
end
local session = redis.call('HGET', SESSIONS, VISITOR)
if session then
  end_sessions(generation, {VISITOR}, {string.match(session, '^%d+')}, REASON)
  return {OK, now, generation, 'ACTIVE'}
end
return {OK, now, generation, false}

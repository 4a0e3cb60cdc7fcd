#!lua flags=allow-oom
-- Whether the session of a number is live; asked when it is used, so it claims the admission.
-- includes: open rfc3339 rotate_ended end_sessions hear
-- KEYS: META ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT SEQ
-- reply: OK now generation session...
-- session: LIVE visitor expires, ENDED reason, or UNKNOWN.
local meta, refusal = open()
if refusal then
  return refusal
end
local generation, number = meta[1], '#' .. SEQ
local visitor = redis.call('HGET', SESSIONS, number)
if visitor then
  local _, expires = hear(generation, visitor, redis.call('ZSCORE', ACTIVE, visitor))
  if expires then
    return {OK, now, generation, 'LIVE', visitor, expires}
  end
end
local reason = redis.call('HGET', ENDED, number) or redis.call('HGET', ENDED_OLD, number)
if reason then
  return {OK, now, generation, 'ENDED', reason}
end
return {OK, now, generation, 'UNKNOWN'}

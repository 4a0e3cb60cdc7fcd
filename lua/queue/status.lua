#!lua flags=allow-oom
-- Where a visitor stands; a sign of life, so it claims an admission.
-- includes: open rfc3339 rotate_ended end_sessions hear standing
-- KEYS: META WAITING ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT VISITOR
-- reply: OK now generation standing...
-- standing: WAITING seq position waiting, ACTIVE seq expires, ENDED seq reason, or UNKNOWN.
local meta, refusal = open()
if refusal then
  return refusal
end
local ends = redis.call('ZSCORE', ACTIVE, VISITOR)
if ends then
  hear(meta[1], VISITOR, ends)
end
return standing(meta[1], VISITOR)

#!lua flags=allow-oom
-- Pauses, resumes or drains: sets what is not empty of PAUSED and DRAINING, each 0 or 1. What is not drained is not
-- closed for a sell-out either.
-- includes: open
-- KEYS: META
-- ARGV: EXPECTED EVENT PAUSED DRAINING
-- reply: OK now generation
local meta, refusal = open()
if refusal then
  return refusal
end
if PAUSED ~= '' then
  redis.call('HSET', META, 'paused', PAUSED)
end
if DRAINING ~= '' then
  redis.call('HSET', META, 'draining', DRAINING)
  if DRAINING == '0' then
    redis.call('HSET', META, 'sold_out', 0)
  end
end
redis.call('HINCRBY', META, 'version', 1)
redis.call('PUBLISH', EVENTS_CHANNEL, EVENT)
return {OK, now, meta[1]}

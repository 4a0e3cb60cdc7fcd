#!lua flags=allow-oom
-- Removes the line, if nobody is in it. The stream of ended sessions stays for a day, for those who read on.
-- includes: open
-- KEYS: META WAITING PRESENT ACTIVE SESSIONS ENDED ENDED_OLD JOINED SESSION_ENDED REMOVED SEEN...
-- ARGV: EXPECTED EVENT PERIOD
-- reply: OK now generation removed
-- SEEN: of PERIOD, the current one, and of all before it that a grace may reach. removed: 1, or 0.
local meta, refusal = open('grace_periods')
if refusal then
  return refusal
end
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, meta[1], tonumber(meta[2])}
end
local removed = redis.call('EXISTS', WAITING, ACTIVE) == 0
if removed then
  redis.call('UNLINK', META, WAITING, PRESENT, ACTIVE, SESSIONS, ENDED, ENDED_OLD, JOINED, unpack(SEEN))
  redis.call('PEXPIRE', SESSION_ENDED, REMOVED_LOG_KEPT_MS)
  -- An event that is gone without this was lost: nodes that know it write it back.
  redis.call('SET', REMOVED, 1, 'PX', REMOVED_KEPT_MS)
end
-- As with the other commands, also where nothing changed: nodes look again.
redis.call('PUBLISH', EVENTS_CHANNEL, EVENT)
return {OK, now, meta[1], removed and 1 or 0}

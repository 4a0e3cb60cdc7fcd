#!lua
-- Creates the line, or replaces its policy.
-- includes: open
-- KEYS: META WAITING PRESENT ACTIVE SESSIONS ENDED ENDED_OLD JOINED SESSION_ENDED REMOVED SEEN...
-- ARGV: EXPECTED EVENT PERIOD GENERATION FLOOR CLOSED_MS PAUSED DRAINING POLICY CAPACITY RATE TTL_MS CLAIM_MS GRACE_MS GRACE_PERIODS MAX_WAITING REOPENS
-- reply: OK now generation created
-- SEEN: of PERIOD, the current one, and of all before it that a grace may reach.
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, GENERATION, 0}
end
local meta, refusal = open('grace_periods')
if refusal and refusal[1] == STALE_GENERATION then
  return refusal
end
if meta then
  if tonumber(GRACE_PERIODS) > tonumber(meta[2]) then
    -- Bitmaps were given the life that the old grace needs.
    for _, seen in ipairs(SEEN) do
      redis.call('PEXPIRE', seen, (GRACE_PERIODS + 2) * SEEN_PERIOD_MS)
    end
  end
  redis.call('HINCRBY', META, 'version', 1)
else
  redis.call('UNLINK', WAITING, PRESENT, ACTIVE, SESSIONS, ENDED, ENDED_OLD, JOINED, REMOVED, unpack(SEEN))
  redis.call('PERSIST', SESSION_ENDED)
  local closed_ms = tonumber(CLOSED_MS)
  -- The first rank is above the floor.
  local base = FLOOR - FLOOR % BITMAP_BASE_RANKS
  redis.call('HSET', META, 'generation', GENERATION, 'version', 1, 'paused', PAUSED, 'draining', DRAINING, 'sold_out', 0, 'left', '',
    'held', '', 'stock_at', '', 'seq', FLOOR,
    'tat_us', 0, 'admit_not_before', closed_ms > 0 and now + closed_ms or 0, 'sweep_not_before', 0, 'swept', now,
    'admitted', 0, 'abandoned', 0, 'released', 0, 'expired', 0, 'rotated', now, 'last_sec', 0,
    'base', base, 'low', base, 'low1', base, 'low2', base, 'low_rotated', now)
end
redis.call('HSET', META, 'policy', POLICY, 'capacity', CAPACITY, 'rate', RATE, 'ttl_ms', TTL_MS,
  'claim_ms', CLAIM_MS, 'grace_ms', GRACE_MS, 'grace_periods', GRACE_PERIODS, 'max_waiting', MAX_WAITING,
  'reopens', REOPENS)
redis.call('PUBLISH', EVENTS_CHANNEL, EVENT)
return {OK, now, meta and meta[1] or GENERATION, meta and 0 or 1}

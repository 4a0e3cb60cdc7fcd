-- Counts one more version and logs what became of which seats ('-' when only quantities changed).
local LOG_ENTRIES_MAX = 10000
local function changed(state, seats)
  local version = redis.call('HINCRBY', k.meta, 'version', 1)
  redis.call('RPUSH', k.log, string.format('%.0f %d %s', version, state, seats))
  redis.call('LTRIM', k.log, -LOG_ENTRIES_MAX, -1)
end

-- Reads what changed after a version, a bounded number of entries, the oldest first.
--
-- KEYS: meta log
-- ARGV: after batch
-- Reply: CHANGES epoch entry… | TRUNCATED epoch | NO_EVENT
--   entry: version state seats; TRUNCATED when the log no longer reaches back that far
-- Includes:
local after, batch = tonumber(ARGV[1]), tonumber(ARGV[2])
local meta = redis.call('HMGET', k.meta, 'epoch', 'version')
if not meta[1] then return { 'NO_EVENT' } end
local missing = tonumber(meta[2]) - after
local length = redis.call('LLEN', k.log)
if missing < 0 or missing > length then return { 'TRUNCATED', meta[1] } end
local reply = { 'CHANGES', meta[1] }
if missing > 0 then
  local first = length - missing
  for _, entry in ipairs(redis.call('LRANGE', k.log, first, first + batch - 1)) do reply[#reply + 1] = entry end
end
return reply

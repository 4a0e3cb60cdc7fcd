-- Reads all that is public, as of one instant.
--
-- KEYS: meta seats tallies
-- ARGV:
-- Reply: SNAPSHOT revision epoch version open seats (type tally)… | NO_EVENT
-- Includes:
local meta = redis.call('HMGET', k.meta, 'revision', 'epoch', 'version', 'open')
if not meta[1] then return { 'NO_EVENT' } end
local reply = { 'SNAPSHOT', meta[1], meta[2], meta[3], meta[4], redis.call('GET', k.seats) or '' }
for _, text in ipairs(redis.call('HGETALL', k.tallies)) do reply[#reply + 1] = text end
return reply

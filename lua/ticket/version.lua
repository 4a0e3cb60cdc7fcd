-- Reads where the sale stands.
--
-- KEYS: meta
-- ARGV:
-- Reply: VERSION revision epoch version open | NO_EVENT
-- Includes:
local meta = redis.call('HMGET', k.meta, 'revision', 'epoch', 'version', 'open')
if not meta[1] then return { 'NO_EVENT' } end
return { 'VERSION', meta[1], meta[2], meta[3], meta[4] }

-- Reads what some seats are and which of some sessions have ended, as of one instant: a wish for seats that are taken
-- is refused without taking anything else up.
--
-- KEYS: meta seats ended
-- ARGV: revision ranges sessions
--   ranges, sessions: lists in MessagePack: first last … of bytes of the seats' states, both included; jtis
-- Reply: LOOK states… ended… | STALE | NOT_OPEN | NO_EVENT
--   states: the bytes of each range, fewer where the states end; ended: which sessions have, counted from 0
-- Includes:
local meta = redis.call('HMGET', k.meta, 'revision', 'open')
if not meta[1] then return { 'NO_EVENT' } end
if meta[1] ~= ARGV[1] then return { 'STALE' } end
if meta[2] ~= '1' then return { 'NOT_OPEN' } end
local reply, ranges, sessions = { 'LOOK' }, cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])
for i = 1, #ranges, 2 do reply[#reply + 1] = redis.call('GETRANGE', k.seats, ranges[i], ranges[i + 1]) end
if #sessions > 0 then
  local ended = redis.call('ZMSCORE', k.ended, unpack(sessions))
  for i = 1, #sessions do
    if ended[i] then reply[#reply + 1] = i - 1 end
  end
end
return reply

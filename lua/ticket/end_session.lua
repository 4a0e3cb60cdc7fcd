-- The queue ended a session: it takes nothing any more, and if its visitor gave it up, its unpinned holds are let go.
--
-- KEYS: meta seats holds ends pins visitors tallies ended past past_until log
-- ARGV: visitor jti let_go
-- Reply: FREED 0 reservation… | NO_EVENT
-- Includes: clock changed seats tally items hold drop release ended
local visitor, jti, let_go = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', k.meta) == 0 then return { 'NO_EVENT' } end
mark_ended(jti)
local reply = { 'FREED', '0' }
if let_go == '1' then
  for kind, reservation, _, session in items(items_of(visitor)) do
    local text = kind == 'h' and session == jti and redis.call('HGET', k.holds, reservation)
    if text and parse_hold(text).pinned == '0' then reply[#reply + 1] = reservation end
  end
end
for i = 3, #reply do release(reply[i], 'CANCELLED') end
count_released('CANCELLED', #reply - 2)
return reply

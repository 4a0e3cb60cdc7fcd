#!lua flags=allow-oom
-- Ends sessions that are done with, each only if visitor and number both match.
-- includes: open rfc3339 rotate_ended end_sessions
-- KEYS: META ACTIVE SESSIONS ENDED ENDED_OLD SESSION_ENDED
-- ARGV: EXPECTED EVENT VISITORS_AND_SEQS...
-- reply: OK now generation released...
-- released: 1 where it was released now, else 0.
local meta, refusal = open()
if refusal then
  return refusal
end
local reply = {OK, now, meta[1]}
local named = {}
for i = 1, #VISITORS_AND_SEQS, 2 do
  named[#named + 1] = VISITORS_AND_SEQS[i]
end
local sessions = #named > 0 and redis.call('HMGET', SESSIONS, unpack(named)) or {}
local visitors, seqs, done = {}, {}, {}
for i, visitor in ipairs(named) do
  local seq = VISITORS_AND_SEQS[2 * i]
  local live = not done[visitor] and sessions[i] and string.match(sessions[i], '^%d+') == seq
  if live then
    done[visitor] = true
    visitors[#visitors + 1], seqs[#seqs + 1] = visitor, seq
  end
  reply[#reply + 1] = live and 1 or 0
end
if #visitors > 0 then
  end_sessions(meta[1], visitors, seqs, 'RELEASED')
end
return reply

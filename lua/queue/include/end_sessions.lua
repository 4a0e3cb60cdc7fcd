-- Ends sessions for one reason, a batch at most, and tells of each on the channel and in the stream.
-- `seqs` are texts.
local function end_sessions(generation, visitors, seqs, reason)
  rotate_ended()
  local call, gone, log = redis.call, {}, {}
  local head = '{"type":"SESSION_ENDED","eventId":"' .. EVENT .. '","visitorId":"'
  local middle = '","jti":"' .. generation .. '.'
  local tail = '","reason":"' .. reason .. '","at":"' .. rfc3339(now) .. '"}'
  for i, visitor in ipairs(visitors) do
    local seq = seqs[i]
    gone[2 * i - 1], gone[2 * i] = visitor, '#' .. seq
    log[4 * i - 3], log[4 * i - 2] = visitor, seq .. ':' .. reason
    log[4 * i - 1], log[4 * i] = '#' .. seq, reason
    local body = head .. visitor .. middle .. seq .. tail
    call('XADD', SESSION_ENDED, '*', 'body', body)
    call('PUBLISH', SESSION_ENDED_CHANNEL, body)
  end
  call('XTRIM', SESSION_ENDED, 'MAXLEN', '~', SESSION_ENDED_LOG_MAX)
  redis.call('ZREM', ACTIVE, unpack(visitors))
  redis.call('HDEL', SESSIONS, unpack(gone))
  redis.call('HSET', ENDED, unpack(log))
  if reason == 'RELEASED' or reason == 'LEFT' then
    redis.call('HINCRBY', META, 'released', #visitors)
  elseif reason == 'EXPIRED' then
    redis.call('HINCRBY', META, 'expired', #visitors)
  end
end

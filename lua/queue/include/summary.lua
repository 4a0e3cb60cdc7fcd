-- Adds the state of the line at this instant to a reply: see the README.
-- Returns the ranks of the first and the last in line, if anybody waits.
local function summary(reply, meta)
  local head = redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES')[2]
  local tail = head and redis.call('ZRANGE', WAITING, -1, -1, 'WITHSCORES')[2]
  local next_end = redis.call('ZRANGE', ACTIVE, 0, 0, 'WITHSCORES')[2]
  for i = 2, 14 do
    reply[#reply + 1] = tonumber(meta[i]) or false
  end
  reply[#reply + 1] = redis.call('ZCARD', WAITING)
  reply[#reply + 1] = redis.call('ZCARD', ACTIVE)
  reply[#reply + 1] = next_end and tonumber(next_end) or false
  reply[#reply + 1] = head and joined_at(tonumber(head)) or false
  return tonumber(head), tonumber(tail)
end

-- Milliseconds since the epoch by the store's clock: a node with a wrong clock decides nothing.
local now
do
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The store's own time in milliseconds: a node with a wrong clock must not expire everybody's holds.
-- The tests replace this part by an argument.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Under test the time comes as the last argument.
local now = tonumber(table.remove(ARGV))

-- Appends entries of the feed to a stream and publishes them, each once: its id in the stream is its number in the
-- feed, and a stream takes no id twice nor a smaller one after a greater one.
--
-- KEYS: stream
-- ARGV: length_max channel feed after newest (number body)*
-- Reply: OK added | BEHIND last | AHEAD last | FOREIGN
--   BEHIND: the stream has lost entries up to `after`; `last` is what it has. AHEAD: it has entries after `newest`, the
--   last that there is. FOREIGN: it is another feed's.
local stream, feed, after, newest_known = KEYS[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local last = 0
if redis.call('EXISTS', stream) == 1 then
  local info = redis.call('XINFO', 'STREAM', stream)
  for at = 1, #info, 2 do
    if info[at] == 'last-generated-id' then last = tonumber(string.match(info[at + 1], '^%d+')) end
  end
  local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if newest and (newest[2][1] ~= 'feed' or newest[2][2] ~= feed) then return { 'FOREIGN' } end
end
if last < after then return { 'BEHIND', string.format('%.0f', last) } end
if last > newest_known then return { 'AHEAD', string.format('%.0f', last) } end
local added = 0
for at = 6, #ARGV, 2 do
  if tonumber(ARGV[at]) > last then
    redis.call('XADD', stream, 'MAXLEN', '~', ARGV[1], ARGV[at] .. '-0', 'feed', feed, 'body', ARGV[at + 1])
    redis.call('PUBLISH', ARGV[2], ARGV[at + 1])
    added = added + 1
  end
end
return { 'OK', added }

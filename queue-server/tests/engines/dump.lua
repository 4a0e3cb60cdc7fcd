-- The complete state of a line, for comparison with the model.
-- KEYS: meta, waiting, present, active, sessions, ended, ended:old, joined, session-ended, scratch, scratch2,
-- events, seen bitmaps. ARGV: the last entry of the stream that was read; for each bitmap 1 if its life is over
-- (it is removed, as time would) or 0.
local seen = {}
for i = 13, #KEYS do
  if ARGV[i - 11] == '1' then
    redis.call('DEL', KEYS[i])
  end
  seen[i - 12] = redis.call('GET', KEYS[i]) or ''
end
-- That the event was removed is remembered beside the line.
local known = redis.call('EXISTS', (string.gsub(KEYS[1], 'meta$', 'removed')))
for _, key in ipairs(KEYS) do
  known = known + redis.call('EXISTS', key)
end
return {redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'),
  redis.call('GET', KEYS[3]) or '', redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES'),
  redis.call('HGETALL', KEYS[5]), redis.call('HGETALL', KEYS[6]), redis.call('HGETALL', KEYS[7]),
  redis.call('ZRANGE', KEYS[8], 0, -1, 'WITHSCORES'), redis.call('XRANGE', KEYS[9], '(' .. ARGV[1], '+'),
  redis.call('DBSIZE') - known, seen}

#!lua
-- Fills free slots in order, as capacity and rate allow, a batch at most; tells the nodes who was admitted.
-- includes: open ceil_div rate_available rate_take rate_opens free_slots joined_at trim_joined clear_head
-- KEYS: META WAITING PRESENT ACTIVE SESSIONS JOINED
-- ARGV: EXPECTED EVENT MAX
-- reply: OK now generation rate_opens admitted
-- rate_opens: if people wait and slots are free but the rate does not allow it, when it will (ms), else false.
-- admitted: the message that was published, or false if nobody was.
local meta, refusal = open('capacity', 'rate', 'ttl_ms', 'claim_ms', 'paused', 'admit_not_before', 'tat_us', 'seq', 'sold_out')
if refusal then
  return refusal
end
local generation, rate, tat_us = meta[1], tonumber(meta[3]), tonumber(meta[8])
local waiting = redis.call('ZCARD', WAITING)
local free = free_slots(tonumber(meta[2]), redis.call('ZCARD', ACTIVE), meta[6] == '1' or meta[10] == '1', tonumber(meta[7]))
local count = math.min(waiting, free, rate_available(tat_us, rate), tonumber(MAX), ADMIT_BATCH_MAX)
local reply = {OK, now, generation, false, false}
if count > 0 then
  local first = redis.call('ZPOPMIN', WAITING, count)
  local expires = now + tonumber(meta[4])
  local ends = string.format('%.0f', math.min(now + tonumber(meta[5]), expires))
  local until_end = string.format(':%.0f', expires)
  local ranks, begun, sessions, told = {}, {}, {}, {}
  local joined, next_first = 'null', 0
  for i = 1, count do
    local visitor, rank = first[2 * i - 1], first[2 * i]
    local seq = tonumber(rank)
    if next_first and seq >= next_first then
      local at
      at, next_first = joined_at(seq)
      joined = at and string.format('%.0f', at) or 'null'
    end
    local session = 4 * i - 3
    ranks[i] = seq
    begun[2 * i - 1], begun[2 * i] = ends, visitor
    sessions[session], sessions[session + 1] = visitor, rank .. until_end
    sessions[session + 2], sessions[session + 3] = '#' .. rank, visitor
    told[i] = '["' .. visitor .. '",' .. rank .. ',' .. joined .. ']'
  end
  clear_head(ranks)
  redis.call('ZADD', ACTIVE, unpack(begun))
  redis.call('HSET', SESSIONS, unpack(sessions))
  tat_us, free, waiting = rate_take(tat_us, rate, count), free - count, waiting - count
  redis.call('HSET', META, 'tat_us', tat_us)
  redis.call('HINCRBY', META, 'admitted', count)
  local head = redis.call('ZRANGE', WAITING, 0, 0, 'WITHSCORES')[2]
  trim_joined(head or tonumber(meta[9]) + 1)
  reply[5] = string.format('{"event":"%s","generation":"%s","expires":%.0f,"sessions":[', EVENT, generation, expires)
    .. table.concat(told, ',') .. ']}'
  redis.call('PUBLISH', ADMITTED_CHANNEL, reply[5])
end
if waiting > 0 and free > 0 and rate_available(tat_us, rate) == 0 then
  reply[4] = rate_opens(tat_us, rate)
end
return reply

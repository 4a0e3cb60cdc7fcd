#!lua
-- Takes visitors in, or finds them again; a sign of life of each.
-- includes: open rfc3339 ceil_div rate_available rate_take free_slots rotate_ended end_sessions hear queue_new set_run
-- KEYS: META WAITING PRESENT ACTIVE SESSIONS ENDED ENDED_OLD JOINED SESSION_ENDED SEEN
-- ARGV: EXPECTED EVENT PERIOD FLOOR VISITORS...
-- reply: OK now generation waiting paused (place seq position|expires count)...
-- SEEN: of PERIOD, the current one. VISITORS: distinct. place: 0 waiting, 1 waiting before, 2 active,
-- 3 active before, 4 closed, 5 full; of `count` visitors in turn, whose numbers and, of 0, positions follow each other.
local meta, refusal = open('capacity', 'rate', 'ttl_ms', 'claim_ms', 'max_waiting', 'paused', 'draining', 'seq',
  'tat_us', 'admit_not_before', 'grace_periods', 'last_sec', 'sold_out')
if refusal then
  return refusal
end
local generation = meta[1]
if math.floor(now / SEEN_PERIOD_MS) ~= tonumber(PERIOD) then
  return {STALE_PERIOD, now, generation, tonumber(meta[12])}
end
local capacity, rate, max_waiting = tonumber(meta[2]), tonumber(meta[3]), tonumber(meta[6])
local paused, sold_out = meta[7] == '1', meta[14] == '1'
local closed = sold_out or meta[8] == '1'
local tat_us, admit_not_before = tonumber(meta[10]), tonumber(meta[11])
local seq = tonumber(meta[9])
if tonumber(FLOOR) > seq then
  -- Somebody has seen a number that this line has not handed out: it is older than it was, and others may have seen more.
  seq = FLOOR + SEQ_BEHIND_GAP
end
local expires = now + tonumber(meta[4])
local ends = math.min(now + tonumber(meta[5]), expires)

local count = #VISITORS
local waiting, active = redis.call('ZCARD', WAITING), redis.call('ZCARD', ACTIVE)
local was_empty = waiting == 0
local reply = {OK, now, generation, 0, paused and 1 or 0}
local heard, queued, begun, sessions = {}, {}, {}, {}
local first_rank
local ends_of = active > 0 and count > 0 and redis.call('ZMSCORE', ACTIVE, unpack(VISITORS)) or {}

-- Nearly always all are new and there is a line: then they are queued without asking for each whether it is in it.
local room = not closed and not was_empty and (not max_waiting or waiting + count <= max_waiting)
if room and queue_new(seq, ends_of) then
  first_rank = seq + 1
  reply[6], reply[7], reply[8], reply[9] = 0, seq + 1, waiting + 1, count
  seq, waiting = seq + count, waiting + count
else
  local ranks = not was_empty and count > 0 and redis.call('ZMSCORE', WAITING, unpack(VISITORS)) or {}
  local size, last = 5, nil
  for i, visitor in ipairs(VISITORS) do
    local place, number, at = 4, 0, 0
    local rank, live_seq, live_expires = ranks[i], nil, nil
    if not rank and ends_of[i] then
      live_seq, live_expires = hear(generation, visitor, ends_of[i])
      active = live_seq and active or active - 1
    end
    if rank then
      place, number, at = 1, tonumber(rank), redis.call('ZRANK', WAITING, visitor) + 1
      local at_bit = #heard
      heard[at_bit + 1], heard[at_bit + 2], heard[at_bit + 3], heard[at_bit + 4] = 'SET', 'u1', rank - base, 1
    elseif live_seq then
      place, number, at = 3, live_seq, live_expires
    elseif not closed then
      local direct = waiting == 0 and free_slots(capacity, active, paused, admit_not_before) > 0
        and rate_available(tat_us, rate) > 0
      if direct then
        seq, active, tat_us = seq + 1, active + 1, rate_take(tat_us, rate, 1)
        place, number, at = 2, seq, expires
        begun[#begun + 1], begun[#begun + 2] = ends, visitor
        local session = #sessions
        sessions[session + 1], sessions[session + 2] = visitor, string.format('%.0f:%.0f', seq, expires)
        sessions[session + 3], sessions[session + 4] = string.format('#%.0f', seq), visitor
      elseif max_waiting and waiting >= max_waiting then
        place = 5
      else
        seq, waiting = seq + 1, waiting + 1
        place, number, at = 0, seq, waiting
        first_rank = first_rank or seq
        local place_in_queue = #queued
        queued[place_in_queue + 1], queued[place_in_queue + 2] = seq, visitor
      end
    end
    if place == last and place ~= 1 and place ~= 3 then
      reply[size] = reply[size] + 1
    else
      reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = place, number, at, 1
      size, last = size + 4, place
    end
  end
end

if #begun > 0 then
  redis.call('ZADD', ACTIVE, unpack(begun))
  redis.call('HSET', SESSIONS, unpack(sessions))
  redis.call('HINCRBY', META, 'admitted', #begun / 2)
end
if #queued > 0 then
  redis.call('ZADD', WAITING, unpack(queued))
end
if first_rank then
  -- Fresh ranks of one batch follow each other.
  set_run(PRESENT, first_rank, seq)
  set_run(SEEN, first_rank, seq)
  if was_empty then
    redis.call('HSET', META, 'swept', now)
  end
end
if #heard > 0 then
  redis.call('BITFIELD', SEEN, unpack(heard))
end
if first_rank or #heard > 0 then
  redis.call('PEXPIRE', SEEN, (meta[12] + 2) * SEEN_PERIOD_MS)
end
local second = math.floor(now / 1000)
if first_rank and second ~= tonumber(meta[13]) then
  redis.call('ZADD', JOINED, first_rank, string.format('%.0f:%.0f', first_rank, now))
  redis.call('HSET', META, 'last_sec', second)
  if redis.call('ZCARD', JOINED) > JOINED_ENTRIES_MAX then
    redis.call('ZREMRANGEBYRANK', JOINED, 0, 0)
  end
end
if seq ~= tonumber(meta[9]) then
  redis.call('HSET', META, 'seq', seq, 'tat_us', tat_us)
end
reply[4] = waiting
return reply

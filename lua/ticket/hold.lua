-- Takes seats and tickets: one wish after the other, each all or none, in one step. Reads before it writes, and the
-- seats before anything that is the visitor's: in a rush most are refused, and a refusal must be cheap.
--
-- KEYS: meta seats holds ends visitors tallies ended log
-- ARGV: revision limit count
--   then count times: reservation visitor jti hold_ms count total kind what n …
--   kind S: what is indexes parted by commas, none twice; n runs of indexes that follow each other, each as
--   type offset fill, which are BITFIELD's type, its offset in bits, and the value when all of it is held
--   kind G: what is a type without seats, and n how many there are in all
-- Reply: EACH now (status value)… | STALE | NOT_OPEN | NO_EVENT
--   HELD until: a new hold; HOLD record: the same call again; TAKEN index=state,…; SOLD_OUT left;
--   LIMIT_EXCEEDED has; SESSION_ENDED and an empty value
-- Includes: clock changed tally items
local FIELDS = 9
local meta = redis.call('HMGET', k.meta, 'revision', 'open')
if not meta[1] then return { 'NO_EVENT' } end
if meta[1] ~= ARGV[1] then return { 'STALE' } end
if meta[2] ~= '1' then return { 'NOT_OPEN' } end
local limit, wishes = tonumber(ARGV[2]), tonumber(ARGV[3])

local starts, ids, sessions, reads, size = {}, {}, {}, {}, 0
local at = 4
for i = 1, wishes do
  starts[i], ids[i], sessions[i] = at, ARGV[at], ARGV[at + 2]
  local first = at + FIELDS
  if ARGV[at + 6] == 'S' then
    at = first + 3 * ARGV[at + 8]
    for run = first, at - 1, 3 do
      reads[size + 1], reads[size + 2], reads[size + 3] = 'GET', ARGV[run], ARGV[run + 1]
      size = size + 3
    end
  else
    at = first
  end
end
if wishes == 0 then return { 'EACH', string.format('%.0f', now) } end
local states = size > 0 and redis.call('BITFIELD', k.seats, unpack(reads)) or {}
local known = redis.call('HMGET', k.holds, unpack(ids))
local ended = redis.call('ZMSCORE', k.ended, unpack(sessions))

-- What this call holds: bit offset → true, and the texts that it will write.
local mine, tallies, has_now = {}, {}, {}
local sets, holds, ends, visitors, seats = {}, {}, {}, {}, {}
local until_of, tickets = {}, false
local created = string.format('%.0f', now)
local read = 0

local function taken(first, runs)
  local list, index = {}, 0
  local names = {}
  for seat in string.gmatch(ARGV[first - 2], '%d+') do names[#names + 1] = seat end
  for run = 1, runs do
    local place, offset = tonumber(ARGV[first + 3 * run - 1]), tonumber(ARGV[first + 3 * run - 2])
    local value = states[read + run]
    -- The value of a run that is wholly held is 1 + 4 + 16 + …: it tells how many seats there are.
    local width = 0
    while place > 0 do
      width, place = width + 1, math.floor(place / 4)
    end
    for seat = 0, width - 1 do
      local state = math.floor(value / 4 ^ (width - 1 - seat)) % 4
      if state == 0 and mine[offset + 2 * seat] then state = 1 end
      index = index + 1
      if state ~= 0 then list[#list + 1] = names[index] .. '=' .. state end
    end
  end
  return table.concat(list, ',')
end

local function is_taken(first, runs)
  for run = 1, runs do
    if states[read + run] ~= 0 then return true end
    if wishes > 1 then
      local offset, fill = tonumber(ARGV[first + 3 * run - 2]), tonumber(ARGV[first + 3 * run - 1])
      while fill > 0 do
        if mine[offset] then return true end
        offset, fill = offset + 2, math.floor(fill / 4)
      end
    end
  end
  return false
end

local function take_seats(first, runs)
  for run = first, first + 3 * runs - 1, 3 do
    local n = #sets
    sets[n + 1], sets[n + 2], sets[n + 3], sets[n + 4] = 'SET', ARGV[run], ARGV[run + 1], ARGV[run + 2]
    if wishes > 1 then
      local offset, fill = tonumber(ARGV[run + 1]), tonumber(ARGV[run + 2])
      while fill > 0 do
        mine[offset], offset, fill = true, offset + 2, math.floor(fill / 4)
      end
    end
  end
  seats[#seats + 1] = ARGV[first - 2]
end

local function left_of(kind, total)
  local t = tallies[kind]
  if not t then
    local held, sold = tally(kind)
    t = { held, sold }
    tallies[kind] = t
  end
  return math.max(0, total - t[1] - t[2])
end

local function wish(at)
  local reservation, visitor, jti, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 4])
  local kind, what, n = ARGV[at + 6], ARGV[at + 7], tonumber(ARGV[at + 8])
  if kind == 'S' then
    if is_taken(at + FIELDS, n) then return 'TAKEN', taken(at + FIELDS, n) end
  else
    local left = left_of(what, n)
    if count > left then return 'SOLD_OUT', left end
  end
  local has = has_now[visitor] or items_of(visitor)
  local counted = count_of(has)
  if counted + count > limit then return 'LIMIT_EXCEEDED', counted end
  if kind == 'S' then
    take_seats(at + FIELDS, n)
  else
    tallies[what][1], tickets = tallies[what][1] + count, true
  end
  local hold_ms = ARGV[at + 3]
  local until_ = until_of[hold_ms]
  if not until_ then
    until_ = string.format('%.0f', now + hold_ms)
    until_of[hold_ms] = until_
  end
  local size = #holds
  holds[size + 1] = reservation
  holds[size + 2] = visitor .. ' ' .. jti .. ' ' .. created .. ' ' .. until_ .. ' 0 0 ' .. ARGV[at + 5] .. ' ' .. kind
    .. ' ' .. what .. ' ' .. ARGV[at + 4]
  ends[size + 1], ends[size + 2] = until_, reservation
  has = with_item(has, 'h,' .. reservation .. ',' .. ARGV[at + 4] .. ',' .. jti)
  has_now[visitor] = has
  visitors[size + 1], visitors[size + 2] = visitor, has
  return 'HELD', until_
end

local reply = { 'EACH', created }
for i = 1, wishes do
  local status, value
  if known[i] then
    status, value = 'HOLD', known[i]
  elseif ended[i] then
    status, value = 'SESSION_ENDED', ''
  else
    status, value = wish(starts[i])
  end
  if ARGV[starts[i] + 6] == 'S' then read = read + ARGV[starts[i] + 8] end
  reply[#reply + 1], reply[#reply + 2] = status, value
end
if #holds == 0 then return reply end
if #sets > 0 then
  redis.call('BITFIELD', k.seats, unpack(sets))
  changed(1, table.concat(seats, ','))
end
if tickets then
  for kind, t in pairs(tallies) do put_tally(kind, t[1], t[2]) end
  changed(1, '-')
end
redis.call('HSET', k.holds, unpack(holds))
redis.call('ZADD', k.ends, unpack(ends))
redis.call('HSET', k.visitors, unpack(visitors))
return reply

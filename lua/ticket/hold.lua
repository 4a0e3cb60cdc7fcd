-- Takes seats and tickets: one wish after the other, each all or none, in one step. Reads before it writes, and the
-- seats before anything that is the visitor's: in a rush most are refused, and a refusal must be cheap.
--
-- KEYS: meta seats holds ends visitors tallies ended log
-- ARGV: revision limit wishes
--   wishes: one list in MessagePack: 1 if a seat is named by two of them, else 0; then for each of them:
--   reservation visitor jti hold_ms count total kind what n …
--   kind S: what is indexes parted by commas, none twice; n runs of indexes that follow each other, each as
--   type offset fill, which are BITFIELD's type, its offset in bits, and the value when all of it is held
--   kind G: what is a type without seats, and n how many there are in all
--   hold_ms and n are numbers, all else is text
-- Reply: EACH now ( end | HOLD | TAKEN | SOLD_OUT | LIMIT_EXCEEDED | SESSION_ENDED )… | STALE | NOT_OPEN | NO_EVENT
--   end: of a new hold; all others in lists of their own: HOLD record, when it is the same call again;
--   TAKEN index=state,…; SOLD_OUT left; LIMIT_EXCEEDED has
-- Includes: clock changed tally items
local FIELDS = 9
local meta = redis.call('HMGET', k.meta, 'revision', 'open')
if not meta[1] then return { 'NO_EVENT' } end
if meta[1] ~= ARGV[1] then return { 'STALE' } end
if meta[2] ~= '1' then return { 'NOT_OPEN' } end
local limit, w = tonumber(ARGV[2]), cmsgpack.unpack(ARGV[3])
local reply = { 'EACH', string.format('%.0f', now) }
if not w[2] then return reply end
local shared = w[1] == 1

-- Where each wish begins, and the first of its runs among the states that are read.
local starts, reads_at, ids, sessions, reads = {}, {}, {}, {}, {}
local wishes, at, runs = 0, 2, 0
while w[at] do
  wishes = wishes + 1
  starts[wishes], reads_at[wishes], ids[wishes], sessions[wishes] = at, runs, w[at], w[at + 2]
  local first = at + FIELDS
  if w[at + 6] == 'S' then
    at = first + 3 * w[at + 8]
    for run = first, at - 1, 3 do
      local n = 3 * runs
      reads[n + 1], reads[n + 2], reads[n + 3] = 'GET', w[run], w[run + 1]
      runs = runs + 1
    end
  else
    at = first
  end
end
local states = runs > 0 and redis.call('BITFIELD', k.seats, unpack(reads)) or {}
local known = redis.call('HMGET', k.holds, unpack(ids))
local ended = redis.call('ZMSCORE', k.ended, unpack(sessions))

-- Who may get something, and what they have.
local asking, askers = {}, {}
for i = 1, wishes do
  local taken = known[i] or ended[i]
  if not taken and w[starts[i] + 6] == 'S' then
    for run = reads_at[i] + 1, reads_at[i] + w[starts[i] + 8] do taken = taken or states[run] ~= 0 end
  end
  if not taken then
    askers[#askers + 1] = w[starts[i] + 1]
    asking[i] = #askers
  end
end
local has_before = #askers > 0 and redis.call('HMGET', k.visitors, unpack(askers)) or {}

-- What this call holds: bit offset → true, and the texts that it will write.
local mine, tallies, has_now, until_of = {}, {}, {}, {}
local sets, holds, ends, visitors, seats = {}, {}, {}, {}, {}
local tickets = false

-- The seats of a wish that are not free, with their states.
local function taken(at, before)
  local list, names, index = {}, {}, 0
  for name in string.gmatch(w[at + 7], '%d+') do names[#names + 1] = name end
  for run = 1, w[at + 8] do
    local offset, fill = tonumber(w[at + FIELDS + 3 * run - 2]), tonumber(w[at + FIELDS + 3 * run - 1])
    -- All of a run is held at 1 + 4 + 16 + …, which tells how many seats there are; the first has the highest bits.
    local place, value = 1, states[before + run]
    while place * 4 <= fill do place = place * 4 end
    while place >= 1 do
      local state = math.floor(value / place) % 4
      if state == 0 and mine[offset] then state = 1 end
      index = index + 1
      if state ~= 0 then list[#list + 1] = names[index] .. '=' .. state end
      place, offset = place / 4, offset + 2
    end
  end
  return { 'TAKEN', table.concat(list, ',') }
end

-- Whether an earlier wish of this call has taken a seat of this one.
local function is_mine(at)
  for run = at + FIELDS, at + FIELDS + 3 * w[at + 8] - 1, 3 do
    local offset, fill = tonumber(w[run + 1]), tonumber(w[run + 2])
    while fill > 0 do
      if mine[offset] then return true end
      offset, fill = offset + 2, math.floor(fill / 4)
    end
  end
  return false
end

local function take_seats(at)
  for run = at + FIELDS, at + FIELDS + 3 * w[at + 8] - 1, 3 do
    local n = #sets
    sets[n + 1], sets[n + 2], sets[n + 3], sets[n + 4] = 'SET', w[run], w[run + 1], w[run + 2]
    local offset, fill = tonumber(w[run + 1]), shared and tonumber(w[run + 2]) or 0
    while fill > 0 do
      mine[offset], offset, fill = true, offset + 2, math.floor(fill / 4)
    end
  end
  seats[#seats + 1] = w[at + 7]
end

local function tally_of(kind)
  local t = tallies[kind]
  if not t then
    local held, sold = tally(kind)
    t = { held, sold }
    tallies[kind] = t
  end
  return t
end

local function serve(i, at)
  if known[i] then return { 'HOLD', known[i] } end
  if ended[i] then return { 'SESSION_ENDED' } end
  local reservation, visitor, jti, count_text = w[at], w[at + 1], w[at + 2], w[at + 4]
  local kind, what, count = w[at + 6], w[at + 7], tonumber(count_text)
  if kind == 'S' then
    if not asking[i] or (shared and is_mine(at)) then return taken(at, reads_at[i]) end
  else
    local t = tally_of(what)
    local left = math.max(0, w[at + 8] - t[1] - t[2])
    if count > left then return { 'SOLD_OUT', left } end
  end
  local has = has_now[visitor] or has_before[asking[i]] or ''
  local counted = count_of(has)
  if counted + count > limit then return { 'LIMIT_EXCEEDED', counted } end
  if kind == 'S' then
    take_seats(at)
  else
    tallies[what][1], tickets = tallies[what][1] + count, true
  end
  local until_ = now + w[at + 3]
  local until_text = until_of[until_]
  if not until_text then
    until_text = string.format('%.0f', until_)
    until_of[until_] = until_text
  end
  local n = #holds
  holds[n + 1] = reservation
  holds[n + 2] = visitor .. ' ' .. jti .. ' ' .. reply[2] .. ' ' .. until_text .. ' 0 0 ' .. w[at + 5] .. ' ' .. kind
    .. ' ' .. what .. ' ' .. count_text
  ends[n + 1], ends[n + 2] = until_text, reservation
  has = with_item(has, 'h,' .. reservation .. ',' .. count_text .. ',' .. jti)
  has_now[visitor], visitors[n + 1], visitors[n + 2] = has, visitor, has
  return until_
end

for i = 1, wishes do reply[i + 2] = serve(i, starts[i]) end
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
redis.call('HINCRBY', k.meta, 'taken', #holds / 2)
redis.call('ZADD', k.ends, unpack(ends))
redis.call('HSET', k.visitors, unpack(visitors))
return reply

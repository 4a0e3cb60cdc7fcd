-- The seat states under another definition: free seats that were taken out become blocked, blocked ones that
-- are back become free. Nil when a seat that was taken out is held or sold and `force` is not set.
-- Whole chunks that stay, or go or come as one, cost a comparison; only mixed ones are looked at byte by byte.
local CHUNK = 256
local function reshaped_byte(b, t, force)
  local byte, place = 0, 64
  while place >= 1 do
    local bits, want = math.floor(b / place) % 4, math.floor(t / place) % 4
    if want == 3 and (bits == 1 or bits == 2) and not force then return nil end
    if want == 3 and bits == 0 then bits = 3 elseif want == 0 and bits == 3 then bits = 0 end
    byte = byte + bits * place
    place = place / 4
  end
  return byte
end
local function reshaped_chunk(seats, blocked, force, known)
  local out = {}
  for i = 1, #seats do
    local b, t = string.byte(seats, i), string.byte(blocked, i)
    local pair = b * 256 + t
    local byte = known[pair]
    if not byte then
      byte = reshaped_byte(b, t, force)
      if not byte then return nil end
      byte = string.char(byte)
      known[pair] = byte
    end
    out[i] = byte
  end
  return table.concat(out)
end
local function reshaped(seats, blocked, force)
  local free, gone = string.rep('\0', CHUNK), string.rep('\255', CHUNK)
  local out, known = {}, {}
  blocked = blocked .. string.rep('\0', #seats - #blocked)
  for first = 1, #seats, CHUNK do
    local s, b = string.sub(seats, first, first + CHUNK - 1), string.sub(blocked, first, first + CHUNK - 1)
    if s == b or (s == free and b == gone) or (s == gone and b == free) then
      s = b
    else
      s = reshaped_chunk(s, b, force, known)
      if not s then return nil end
    end
    out[#out + 1] = s
  end
  return table.concat(out)
end
local function grown(seats, count)
  return seats .. string.rep('\0', math.max(0, math.ceil(count / 4) - #seats))
end
local function put_shape(before, revision, epoch, count, blocked_count, seats)
  if seats ~= '' then redis.call('SET', k.seats, seats) end
  redis.call('DEL', k.log)
  redis.call('HSET', k.meta, 'revision', revision, 'epoch', epoch, 'blocked', blocked_count, 'open', before[2] or '0')
  redis.call('HINCRBY', k.meta, 'version', 1)
  redis.call('HSETNX', k.meta, 'origin', epoch)
end

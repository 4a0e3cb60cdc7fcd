-- The seat states under another definition: free seats that were taken out become blocked, blocked ones that
-- are back become free. Nil when a seat that was taken out is held or sold and `force` is not set.
-- A loop over the whole hall, but only when seats are or were blocked: a matter of operators, not of visitors.
local function reshaped(seats, blocked, force)
  local out = {}
  for i = 1, #seats do
    local b, t = string.byte(seats, i), string.byte(blocked, i) or 0
    if b ~= t and (b ~= 0 or t ~= 0) then
      local byte, place = 0, 64
      while place >= 1 do
        local bits, want = math.floor(b / place) % 4, math.floor(t / place) % 4
        if want == 3 and (bits == 1 or bits == 2) and not force then return nil end
        if want == 3 and bits == 0 then bits = 3 elseif want == 0 and bits == 3 then bits = 0 end
        byte = byte + bits * place
        place = place / 4
      end
      b = byte
    end
    out[i] = string.char(b)
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
end

-- Clears the bits of those who were taken from the head of the line, whose ranks these are, in order: whatever is
-- set from the first to the last of them.
local function clear_head(ranks)
  local first, last = ranks[1] - base, ranks[#ranks] - base
  local from, to = math.floor(first / 8), math.floor(last / 8)
  if to - from >= BITMAP_CHUNK_BYTES_MAX then
    -- Few and far between.
    for _, rank in ipairs(ranks) do
      redis.call('SETBIT', PRESENT, rank - base, 0)
    end
    return
  end
  local old = string.byte(redis.call('GETRANGE', PRESENT, to, to)) or 0
  redis.call('SETRANGE', PRESENT, from, string.rep('\0', to - from) .. string.char(old % 2 ^ (7 - last % 8)))
end

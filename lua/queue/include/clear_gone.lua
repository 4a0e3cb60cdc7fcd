-- Clears the bits of those who are gone, up to the rank `last`. `kept` are the bytes of PRESENT from byte `first` on
-- without the bits of `gone`, the first of which is in byte `at` of them.
local function clear_gone(first, at, kept, gone, last)
  local to = math.floor(last / 8) - first + 1
  local later = string.byte(gone, to) % 2 ^ (7 - last % 8)
  redis.call('SETRANGE', PRESENT, first + at - 1 - base / 8,
    string.sub(kept, at, to - 1) .. string.char(string.byte(kept, to) + later))
end

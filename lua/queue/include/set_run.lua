-- Sets the bits of the ranks from `first` to `last` in a bitmap.
local function set_run(key, first, last)
  first, last = first - base, last - base
  if first == last then
    redis.call('SETBIT', key, first, 1)
    return
  end
  local from, to = math.floor(first / 8), math.floor(last / 8)
  local head, tail = 2 ^ (8 - first % 8) - 1, 256 - 2 ^ (7 - last % 8)
  local old = string.byte(redis.call('GETRANGE', key, from, from)) or 0
  if from == to then
    redis.call('SETRANGE', key, from, string.char(bit.bor(old, bit.band(head, tail))))
    return
  end
  local old_tail = string.byte(redis.call('GETRANGE', key, to, to)) or 0
  redis.call('SETRANGE', key, from, string.char(bit.bor(old, head)) .. string.rep('\255', to - from - 1)
    .. string.char(bit.bor(old_tail, tail)))
end

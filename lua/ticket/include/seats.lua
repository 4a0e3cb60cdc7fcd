-- Seat states: 0 free, 1 held, 2 sold, 3 blocked; two bits each, the first seat in the highest bits.
local function seat_list(text)
  local list = {}
  for seat in string.gmatch(text, '%d+') do list[#list + 1] = seat end
  return list
end
local function seat_states(list)
  local call = {}
  for _, seat in ipairs(list) do
    call[#call + 1] = 'GET'
    call[#call + 1] = 'u2'
    call[#call + 1] = '#' .. seat
  end
  return redis.call('BITFIELD', k.seats, unpack(call))
end
local function set_seats(list, state)
  local call = {}
  for _, seat in ipairs(list) do
    call[#call + 1] = 'SET'
    call[#call + 1] = 'u2'
    call[#call + 1] = '#' .. seat
    call[#call + 1] = state
  end
  redis.call('BITFIELD', k.seats, unpack(call))
end

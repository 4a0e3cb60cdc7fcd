-- How many the rate admits now. `rate` per minute, nil where there is none. As `line::rate` has it.
local function rate_available(tat_us, rate)
  if not rate then
    return math.huge
  end
  local ahead_us = math.max(tat_us - now * 1000, 0)
  if ahead_us > 120000000 then
    ahead_us = 0
  end
  return math.max(ceil_div(rate, 60) - ceil_div(ahead_us * rate, 60000000), 0)
end

-- When the rate admits the next one, if not now, in milliseconds.
local function rate_opens(tat_us, rate)
  local burst_us = (ceil_div(rate, 60) - 1) * 60000000
  return ceil_div(math.max(tat_us - (burst_us - burst_us % rate) / rate, 0), 1000)
end

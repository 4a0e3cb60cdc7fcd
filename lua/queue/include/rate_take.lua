-- The rate bucket after `count` were admitted.
local function rate_take(tat_us, rate, count)
  if not rate then
    return tat_us
  end
  if tat_us > now * 1000 + 120000000 then
    tat_us = 0
  end
  return math.max(tat_us, now * 1000) + ceil_div(count * 60000000, rate)
end

-- a / b rounded up, exactly, for whole numbers below 2^53.
local function ceil_div(a, b)
  local top = a + b - 1
  return (top - top % b) / b
end

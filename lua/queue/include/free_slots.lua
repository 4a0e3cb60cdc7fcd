-- Free slots, whatever the rate allows.
local function free_slots(capacity, active, paused, admit_not_before)
  if paused or now < admit_not_before then
    return 0
  end
  return math.max(capacity - active, 0)
end

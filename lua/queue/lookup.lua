#!lua flags=no-writes
-- Where a visitor stands, asked by somebody else: changes nothing.
-- includes: open standing
-- KEYS: META WAITING ACTIVE SESSIONS ENDED ENDED_OLD
-- ARGV: EXPECTED VISITOR
-- reply: OK now generation standing...
-- standing: as of status.
local meta, refusal = open()
if refusal then
  return refusal
end
return standing(meta[1], VISITOR)

-- A hold's record: visitor jti created until extensions pinned total kind what count.
-- kind S: what is a list of seats; kind G: what is a type without seats. All fields are text.
local function parse_hold(text)
  local h = {}
  h.visitor, h.jti, h.created, h.until_, h.extensions, h.pinned, h.total, h.kind, h.what, h.count =
    string.match(text, '^(%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%a) (%S+) (%d+)$')
  return h
end
local function hold_text(h)
  return table.concat(
    { h.visitor, h.jti, h.created, h.until_, h.extensions, h.pinned, h.total, h.kind, h.what, h.count }, ' ')
end

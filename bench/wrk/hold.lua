-- Holds one free seat per request, the visitors taking turns. Arguments: EVENT FILE SEATS_PER_ROW
-- The hall has one section, A; FILE has an active token per line.
function init(args)
    local tokens, count, at, per_row = {}, 0, 0, tonumber(args[3])
    for token in io.lines(args[2]) do
        count = count + 1
        tokens[count] = "Bearer " .. token
    end
    local before = '{"eventId":"' .. args[1] .. '","seatIds":["A-'
    wrk.headers["content-type"] = "application/json"
    request = function()
        wrk.headers["authorization"] = tokens[at % count + 1]
        local body = before .. math.floor(at / per_row) + 1 .. "-" .. at % per_row + 1 .. '"]}'
        at = at + 1
        return wrk.format("POST", "/api/v1/seats/reserve", wrk.headers, body)
    end
end

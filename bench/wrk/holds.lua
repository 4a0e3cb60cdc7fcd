-- Holds so many neighbouring free seats per request, the visitors taking turns.
-- Arguments: EVENT FILE SEATS_PER_ROW COUNT LAST. FILE has an active token per line; the hall has one section, A.
-- After LAST seats it begins anew: with those that are taken.
function init(args)
    local tokens, count, at = {}, 0, 0
    local per_row, seats, last = tonumber(args[3]), tonumber(args[4]), tonumber(args[5])
    for token in io.lines(args[2]) do
        count = count + 1
        tokens[count] = "Bearer " .. token
    end
    local before = '{"eventId":"' .. args[1] .. '","seatIds":["A-'
    wrk.headers["content-type"] = "application/json"
    request = function()
        wrk.headers["authorization"] = tokens[at % count + 1]
        local first = at * seats % last
        local row, number = math.floor(first / per_row) + 1, first % per_row + 1
        local names = {}
        for seat = 1, seats do names[seat] = row .. "-" .. number + seat - 1 end
        at = at + 1
        return wrk.format("POST", "/api/v1/seats/reserve", wrk.headers, before .. table.concat(names, '","A-') .. '"]}')
    end
end

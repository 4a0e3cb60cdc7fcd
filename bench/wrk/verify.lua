-- Asks the gate about sessions, one after the other. Arguments: EVENT FILE (an active token per line)
function init(args)
    local texts, count, at = {}, 0, 0
    for token in io.lines(args[2]) do
        wrk.headers["authorization"] = "Bearer " .. token
        count = count + 1
        texts[count] = wrk.format("GET", "/api/v1/queue/verify?event=" .. args[1])
    end
    request = function()
        at = at % count + 1
        return texts[at]
    end
end

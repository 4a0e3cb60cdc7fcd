-- Asks where visitors stand, one after the other. Arguments: EVENT FILE (a place token per line)
function init(args)
    local texts, count, at = {}, 0, 0
    for token in io.lines(args[2]) do
        wrk.headers["x-usher-place"] = token
        count = count + 1
        texts[count] = wrk.format("GET", "/api/v1/queue/status/" .. args[1])
    end
    request = function()
        at = at % count + 1
        return texts[at]
    end
end

-- Joins: every request is a new visitor. Arguments: EVENT
function init(args)
    local text = wrk.format("POST", "/api/v1/queue/check/" .. args[1])
    request = function() return text end
end

-- The time of the server, in microseconds.
local function server_time()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

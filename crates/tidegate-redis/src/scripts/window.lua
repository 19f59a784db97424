-- Adds the calls of a process to the window of a circuit. The same decisions as `WindowRecord` in the crate tidegate.
-- KEYS: the window (a hash: its number, and the slices of each span).
-- ARGV: the number of the window that the process knows, or 0; how long ago its circuit closed after that, or 0; then for the
-- results and for the latencies: the field, `calls` or `time`, the length in calls or microseconds, the bad calls, all calls. A field
-- that is empty is not counted.
-- Returns: the number of the window; the bad calls and all calls of the results, and of the latencies.

local SLICES = 10
-- How long a window is kept without a report, in milliseconds.
local AFTERWARDS = 3600 * 1000

local now = server_time()
local number = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
local known, closed_for = tonumber(ARGV[1]), tonumber(ARGV[2])
-- The number of a window is the time at which it began.
local is_over = closed_for > 0 and (known == number or known == 0 and number < now - closed_for)
if number == 0 or is_over then
    redis.call('DEL', KEYS[1])
    number = math.max(now, number + 1)
    redis.call('HSET', KEYS[1], 'number', string.format('%.17g', number))
end
local counts = known == 0 or closed_for > 0 or known == number

local reply, lifetime = { number }, 0
for index = 3, #ARGV, 5 do
    local field, kind, length = ARGV[index], ARGV[index + 1], tonumber(ARGV[index + 2])
    local bad, calls = tonumber(ARGV[index + 3]), tonumber(ARGV[index + 4])
    local slices, all_bad, all_calls = {}, 0, 0
    if field ~= '' then
        local numbers = {}
        for text in string.gmatch(redis.call('HGET', KEYS[1], field) or '', '%S+') do
            numbers[#numbers + 1] = tonumber(text)
        end
        local tenth = 0
        if kind == 'time' then
            local slice_time = math.max(1, math.floor(length / SLICES))
            tenth = (now - now % slice_time) / slice_time
            lifetime = math.max(lifetime, math.ceil(length / 1000))
        end
        for at = 1, #numbers - 2, 3 do
            if math.abs(numbers[at] - tenth) < SLICES then
                slices[#slices + 1] = { numbers[at], numbers[at + 1], numbers[at + 2] }
            end
        end
        if counts and calls > 0 then
            local last = slices[#slices]
            local is_full = not last or last[1] < tenth
            if kind == 'calls' then
                is_full = not last or last[3] >= math.ceil(length / SLICES)
            end
            if is_full then
                last = { tenth, 0, 0 }
                slices[#slices + 1] = last
            end
            last[2], last[3] = last[2] + bad, last[3] + calls
        end
        for _, slice in ipairs(slices) do
            all_bad, all_calls = all_bad + slice[2], all_calls + slice[3]
        end
        while kind == 'calls' and #slices > 0 and all_calls - slices[1][3] >= length do
            local oldest = table.remove(slices, 1)
            all_bad, all_calls = all_bad - oldest[2], all_calls - oldest[3]
        end
        local parts = {}
        for _, slice in ipairs(slices) do
            parts[#parts + 1] = string.format('%.17g %.17g %.17g', slice[1], slice[2], slice[3])
        end
        redis.call('HSET', KEYS[1], field, table.concat(parts, ' '))
    end
    reply[#reply + 1] = all_bad
    reply[#reply + 1] = all_calls
end
-- Another process may have longer windows.
if redis.call('PTTL', KEYS[1]) < lifetime + AFTERWARDS then
    redis.call('PEXPIRE', KEYS[1], lifetime + AFTERWARDS)
end
return reply

-- Takes a lease of all quotas or of none.
-- KEYS: the buckets (a hash by quota), the processes (a set by the time of their last request).
-- ARGV: the process, the longest wait, the time for which the store was unavailable to the process, then for each quota: its
-- field, the time in which one unit refills, the capacity, the amount, the returned amount, the time since it was taken, the
-- charged amount, the debt that the process knows, what it spent alone, and the part of that which has not refilled in its
-- share.
-- Returns: whether it was granted, the wait, the rest of the closed time, the processes, the debt of each quota.

local PROCESS_TIME = 60 * 1000000
-- No process has sent a request for so long: the store was unavailable to all of them, or there were no calls.
local SILENCE = 100 * 1000
-- The processes return from an outage one after the other: for so long a shorter silence does not replace a longer one.
local RETURN_TIME = 10 * 1000000

local now = server_time()
local horizon, outage = tonumber(ARGV[2]), tonumber(ARGV[3])
local times = redis.call('HMGET', KEYS[1], 'last_request', 'silent_from', 'silent_to', 'closed_until', 'closed_for')
local last_request, silent_from, silent_to = tonumber(times[1] or 0), tonumber(times[2] or 0), tonumber(times[3] or 0)
silent_from, silent_to = math.min(silent_from, now), math.min(silent_to, now)
local silence = now - last_request
if silence > SILENCE and (silence >= silent_to - silent_from or now - silent_to > RETURN_TIME) then
    silent_from, silent_to = last_request, now
end
redis.call('HSET', KEYS[1], 'last_request', string.format('%.17g', now),
    'silent_from', string.format('%.17g', silent_from), 'silent_to', string.format('%.17g', silent_to))

-- The part of the outage in which others used what refilled.
local alone = 0
if outage > 0 then
    local overlap = math.min(now, silent_to) - math.max(now - outage, silent_from)
    alone = 1 - math.max(0, math.min(1, overlap / outage))
end

local quotas, wait, longest = {}, 0, PROCESS_TIME
for index = 4, #ARGV, 10 do
    local unit, capacity = tonumber(ARGV[index + 1]), tonumber(ARGV[index + 2])
    local text = redis.call('HGET', KEYS[1], ARGV[index])
    local bucket = decode(text, now, tonumber(ARGV[index + 7]))
    local returned, charged = tonumber(ARGV[index + 4]), tonumber(ARGV[index + 6])
    local spent, debt = tonumber(ARGV[index + 8]), tonumber(ARGV[index + 9])
    charged = charged + math.max(debt, spent * alone)
    if returned > 0 then
        refund(bucket, returned * unit, now - tonumber(ARGV[index + 5]), now)
    end
    if charged > 0 then
        take(bucket, charged * unit, now)
    end
    local cost = tonumber(ARGV[index + 3]) * unit
    if cost > 0 then
        wait = math.max(wait, wait_for(bucket, cost, capacity * unit, now))
    end
    quotas[#quotas + 1] = { field = ARGV[index], bucket = bucket, cost = cost }
end

local is_granted = wait <= horizon
local reply = { is_granted and 1 or 0, math.ceil(wait), 0, 0 }
for _, quota in ipairs(quotas) do
    if is_granted and quota.cost > 0 then
        take(quota.bucket, quota.cost, now)
    end
    local debt = debt_at(quota.bucket, now)
    longest = math.max(longest, debt)
    redis.call('HSET', KEYS[1], quota.field, encode(quota.bucket))
    reply[#reply + 1] = math.ceil(debt)
end

if times[4] then
    local closed_until = bound_time(times[4], times[5], now)
    reply[3] = math.max(0, closed_until - now)
    redis.call('HSET', KEYS[1], 'closed_until', string.format('%.17g', closed_until))
end
longest = math.max(longest, reply[3])
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '(' .. string.format('%.17g', now), '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.17g', now - PROCESS_TIME))
reply[4] = redis.call('ZCARD', KEYS[2])
-- Another process may have longer quotas.
local expiry = math.ceil(longest / 1000) + 60000
if redis.call('PTTL', KEYS[1]) < expiry then
    redis.call('PEXPIRE', KEYS[1], expiry)
end
redis.call('PEXPIRE', KEYS[2], math.ceil(PROCESS_TIME / 1000))
return reply

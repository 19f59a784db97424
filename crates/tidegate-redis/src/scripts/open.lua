-- Opens a gate before its time, unless it was closed after that, and takes back for how much longer that closed a quota.
-- KEYS: the buckets.
-- ARGV: the channel, the name, the process, the time since the gate was opened; then, if a quota paces the calls afterwards:
-- its field.

-- A closing time is sent again for a minute.
local KEPT_FOR = 120 * 1000

local now = server_time()
local known = redis.call('HMGET', KEYS[1], 'closed_until', 'closed_for', 'closed_at', 'opened_at', 'drained')
local closed_at = past_time(known[3], now)
local opened_at = math.max(now - tonumber(ARGV[4]), past_time(known[4], now))
redis.call('HSET', KEYS[1], 'opened_at', string.format('%.17g', opened_at))
if redis.call('PTTL', KEYS[1]) < KEPT_FOR then
    redis.call('PEXPIRE', KEYS[1], KEPT_FOR)
end
local rest = bound_time(known[1], known[2], now) - now
if rest <= 0 or closed_at > opened_at then
    return 0
end
redis.call('HDEL', KEYS[1], 'closed_until', 'closed_for', 'closed_at', 'drained')
if ARGV[5] then
    local bucket = decode(redis.call('HGET', KEYS[1], ARGV[5]), now, 0)
    -- What was reserved before it was closed stays so.
    set_debt(bucket, math.max(0, debt_at(bucket, now) - math.min(rest, tonumber(known[5] or 0))), now)
    redis.call('HSET', KEYS[1], ARGV[5], encode(bucket))
end
redis.call('PUBLISH', ARGV[1], 'opened ' .. ARGV[3] .. ' 0 ' .. ARGV[2])
return 1

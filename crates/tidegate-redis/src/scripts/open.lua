-- Opens a gate before its time, and takes back for how much longer that closed a quota.
-- KEYS: the buckets.
-- ARGV: the channel, the name, the process; then, if a quota paces the calls afterwards: its field.

local now = server_time()
local known = redis.call('HMGET', KEYS[1], 'closed_until', 'closed_for')
local rest = bound_time(known[1], known[2], now) - now
if rest <= 0 then
    return 0
end
redis.call('HDEL', KEYS[1], 'closed_until', 'closed_for')
if ARGV[4] then
    local bucket = decode(redis.call('HGET', KEYS[1], ARGV[4]), now, 0)
    set_debt(bucket, math.max(0, debt_at(bucket, now) - rest), now)
    redis.call('HSET', KEYS[1], ARGV[4], encode(bucket))
end
redis.call('PUBLISH', ARGV[1], 'opened ' .. ARGV[3] .. ' 0 ' .. ARGV[2])
return 1

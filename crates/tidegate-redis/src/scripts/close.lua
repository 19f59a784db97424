-- Closes a gate. The later of two times holds.
-- KEYS: the buckets.
-- ARGV: the time to be closed, the channel, the name, the process; then, if a quota paces the calls afterwards: its field,
-- the time in which one unit refills, the capacity.

local now = server_time()
local closed_until = now + tonumber(ARGV[1])
if closed_until <= tonumber(redis.call('HGET', KEYS[1], 'closed_until') or 0) then
    return 0
end
redis.call('HSET', KEYS[1], 'closed_until', string.format('%.17g', closed_until))
local lifetime = closed_until - now
if ARGV[5] then
    local unit, capacity = tonumber(ARGV[6]), tonumber(ARGV[7])
    local text = redis.call('HGET', KEYS[1], ARGV[5])
    local bucket = text and decode(text) or new_bucket(now, 0)
    drain_until(bucket, (capacity - 1) * unit, closed_until, now)
    redis.call('HSET', KEYS[1], ARGV[5], encode(bucket))
    lifetime = math.max(lifetime, debt_at(bucket, now))
end
local expiry = math.ceil(lifetime / 1000) + 60000
if redis.call('PTTL', KEYS[1]) < expiry then
    redis.call('PEXPIRE', KEYS[1], expiry)
end
redis.call('PUBLISH', ARGV[2], 'closed ' .. ARGV[4] .. ' ' .. ARGV[1] .. ' ' .. ARGV[3])
return 1

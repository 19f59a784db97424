-- Closes a gate, unless it was opened after that. The later of two times holds.
-- KEYS: the buckets.
-- ARGV: the time to be closed, the channel, the name, the process, the time since the gate was closed; then, if a quota paces
-- the calls afterwards: its field, the time in which one unit refills, the capacity.
-- Returns: 0 if it was opened after that, else 1.

local now = server_time()
local lifetime = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[1], 'closed_until', 'closed_for', 'opened_at', 'drained')
local closed_at = now - tonumber(ARGV[5])
if closed_at < past_time(known[3], now) then
    return 0
end
local closed_until = bound_time(known[1], known[2], now)
if now + lifetime <= closed_until then
    redis.call('HSET', KEYS[1], 'closed_until', string.format('%.17g', closed_until))
    return 1
end
local drained = closed_until > now and tonumber(known[4] or 0) or 0
closed_until = now + lifetime
redis.call('HSET', KEYS[1], 'closed_until', string.format('%.17g', closed_until), 'closed_for', ARGV[1],
    'closed_at', string.format('%.17g', closed_at))
if ARGV[6] then
    local unit, capacity = tonumber(ARGV[7]), tonumber(ARGV[8])
    local bucket = decode(redis.call('HGET', KEYS[1], ARGV[6]), now, 0)
    drained = drained - debt_at(bucket, now)
    drain_until(bucket, (capacity - 1) * unit, closed_until, now)
    drained = drained + debt_at(bucket, now)
    redis.call('HSET', KEYS[1], ARGV[6], encode(bucket), 'drained', string.format('%.17g', drained))
    lifetime = math.max(lifetime, debt_at(bucket, now))
end
local expiry = math.ceil(lifetime / 1000) + 60000
if redis.call('PTTL', KEYS[1]) < expiry then
    redis.call('PEXPIRE', KEYS[1], expiry)
end
redis.call('PUBLISH', ARGV[2], 'closed ' .. ARGV[4] .. ' ' .. ARGV[1] .. ' ' .. ARGV[3])
return 1

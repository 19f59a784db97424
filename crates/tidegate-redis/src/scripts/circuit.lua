-- Reads or changes a circuit. Of two times for which it is open the later holds, and one process at a time probes.
-- KEYS: the circuit (a hash).
-- ARGV: the change, the process, a time, whether the quota is exhausted, the channel, the name, the time for which a circuit
-- of which nothing is known has no turn, the time since the process has opened or closed the circuit again.
-- Returns: 0 if nothing is known, 1 if it is closed, or 2 if it is open; the rest of its cooldown; whether the quota is
-- exhausted; whether the process has the turn to probe.

local AFTERWARDS = 3600 * 1000000
-- It is not known whether a process probes.
local ANY = '?'

local now = server_time()
local change, process, time = ARGV[1], ARGV[2], tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1], 'open_until', 'is_quota', 'prober', 'turn_until', 'open_for', 'turn_for',
    'since')
local open_until, since = tonumber(state[1] or -1), tonumber(state[7] or 0)
local is_quota, prober, turn_until = state[2] or '0', state[3] or '', tonumber(state[4] or 0)
-- The clock of a server may be set back: no time is further ahead than when it was written.
local open_end, turn_end = now + tonumber(state[5] or math.huge), now + tonumber(state[6] or math.huge)
local is_set_back = open_until > open_end or turn_until > turn_end or since > now
open_until, turn_until, since = math.min(open_until, open_end), math.min(turn_until, turn_end), math.min(since, now)
if turn_until <= now then
    prober = ''
end

-- What the process changed before may have reached the store or not. When a process opened the circuit whose cooldown it
-- publishes again is not known.
local event
local changed = change == 'restore' and 0 or now - tonumber(ARGV[8])
if change == 'reopen' then
    prober = prober == process and '' or prober
    change = open_until == 0 and since <= changed and 'open' or 'restore'
    if open_until < 0 then
        event = ARGV[4] == '1' and 'circuit_quota' or 'circuit_open'
    end
elseif change == 'reclose' then
    change = open_until ~= 0 and since <= changed and 'close' or 'read'
end

-- Of two times the later holds. While the circuit is open, an exhausted quota stays exhausted. Returns whether this changes
-- something.
local function extend()
    local was_quota = open_until > now and is_quota == '1'
    local is_news = now + time > open_until or ARGV[4] == '1' and not was_quota
    open_until, is_quota = math.max(open_until, now + time), was_quota and '1' or ARGV[4]
    return is_news
end

if change == 'open' then
    if extend() then
        event = is_quota == '1' and 'circuit_quota' or 'circuit_open'
    end
    since, prober = math.max(since, changed), ''
elseif change == 'restore' then
    since = math.max(since, changed)
    if open_until < 0 then
        prober, turn_until = ANY, now + tonumber(ARGV[7])
    end
    if open_until ~= 0 and (prober == '' or prober == ANY) then
        extend()
    end
elseif change == 'close' then
    open_until, since, is_quota, prober = 0, changed, '0', ''
    event = 'circuit_closed'
elseif change == 'take_turn' and open_until < 0 then
    open_until, prober, turn_until = now, ANY, now + tonumber(ARGV[7])
elseif change == 'keep_turn' and (open_until < 0 or prober == ANY) then
    open_until = open_until < 0 and now or open_until
    prober, turn_until = process, now + time
elseif change == 'take_turn' or change == 'keep_turn' then
    if open_until ~= 0 and open_until <= now and (prober == '' or prober == process) then
        prober, turn_until = process, now + time
    end
elseif change == 'end_turn' and prober == process then
    prober = ''
end

if (change ~= 'read' or is_set_back) and open_until >= 0 then
    local open_for, turn_for = math.max(0, open_until - now), math.max(0, turn_until - now)
    redis.call('HSET', KEYS[1], 'open_until', string.format('%.17g', open_until), 'is_quota', is_quota,
        'prober', prober, 'turn_until', string.format('%.17g', turn_until),
        'open_for', string.format('%.17g', open_for), 'turn_for', string.format('%.17g', turn_for),
        'since', string.format('%.17g', since))
    local lifetime = math.max(open_for, turn_for) + AFTERWARDS
    redis.call('PEXPIRE', KEYS[1], math.ceil(lifetime / 1000))
end
if event then
    redis.call('PUBLISH', ARGV[5], event .. ' ' .. process .. ' ' .. string.format('%.17g', time) .. ' ' .. ARGV[6])
end
if open_until < 0 then
    return { 0, 0, 0, 0 }
elseif open_until == 0 then
    return { 1, 0, 0, 0 }
end
return { 2, math.max(0, open_until - now), tonumber(is_quota), prober == process and 1 or 0 }

-- A token bucket: the generic cell rate algorithm. The same decisions as `Bucket` in the crate tidegate, in microseconds:
-- a debt is the time in which the bucket is full again, and a cost the time in which it refills.

local MAX_MINIMA = 6

-- A time for which `longest` was left when it was set: no later than that from now on.
local function bound_time(time, longest, now)
    return math.min(tonumber(time or 0), now + tonumber(longest or math.huge))
end

-- A time at which something was changed. If the clock was set back since, it counts as long ago.
local function past_time(time, now)
    time = tonumber(time or 0)
    return time <= now and time or 0
end

local function new_bucket(now, debt)
    return { at = now, debt = debt, minima = {} }
end

local function debt_at(bucket, now)
    return math.max(0, bucket.debt - math.max(0, now - bucket.at))
end

local function set_debt(bucket, debt, now)
    bucket.at = math.max(bucket.at, now)
    bucket.debt = debt
end

-- The time until `cost` fits a bucket of `capacity`. A higher cost fits a full bucket.
local function wait_for(bucket, cost, capacity, now)
    return math.max(0, debt_at(bucket, now) - math.max(0, capacity - cost))
end

local function take(bucket, cost, now)
    local debt, minima = debt_at(bucket, now), bucket.minima
    while #minima > 0 and minima[#minima][2] >= debt do
        minima[#minima] = nil
    end
    if #minima == MAX_MINIMA then
        minima[MAX_MINIMA - 1][1] = minima[MAX_MINIMA][1]
        minima[MAX_MINIMA] = nil
    end
    minima[#minima + 1] = { now, debt }
    set_debt(bucket, debt + cost, now)
end

-- Returns `cost` that was taken at `taken`, less what has refilled since.
local function refund(bucket, cost, taken, now)
    local debt = debt_at(bucket, now)
    local minima, first = bucket.minima, nil
    for index = 1, #minima do
        if minima[index][1] > taken then
            first = index
            break
        end
    end
    local back = math.min(cost, debt)
    if first then
        back = math.min(back, minima[first][2])
    end
    set_debt(bucket, debt - back, now)
    if not first then
        return
    end
    local kept = {}
    local lowest = math.max(0, minima[first][2] - back)
    for index = 1, first - 1 do
        if minima[index][2] < lowest then
            kept[#kept + 1] = minima[index]
        end
    end
    for index = first, #minima do
        kept[#kept + 1] = { minima[index][1], math.max(0, minima[index][2] - back) }
    end
    bucket.minima = kept
end

-- The bucket holds one unit of `capacity` at `at`, unless it would hold less.
local function drain_until(bucket, spent, at, now)
    local debt = spent + math.max(0, at - now)
    if debt > debt_at(bucket, now) then
        set_debt(bucket, debt, now)
        bucket.minima = { { now, 0 } }
    end
end

local function encode(bucket)
    local parts = { string.format('%.17g %.17g', bucket.at, bucket.debt) }
    for _, minimum in ipairs(bucket.minima) do
        parts[#parts + 1] = string.format('%.17g %.17g', minimum[1], minimum[2])
    end
    return table.concat(parts, ' ')
end

-- The bucket of `text`, or a new one. The clock of a server may be set back: no bucket is of a later time than `now`.
local function decode(text, now, debt)
    if not text then
        return new_bucket(now, debt)
    end
    local numbers = {}
    for number in string.gmatch(text, '%S+') do
        numbers[#numbers + 1] = tonumber(number)
    end
    local bucket = new_bucket(math.min(numbers[1], now), numbers[2])
    for index = 3, #numbers - 1, 2 do
        bucket.minima[#bucket.minima + 1] = { math.min(numbers[index], now), numbers[index + 1] }
    end
    return bucket
end

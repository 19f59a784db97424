//! The decisions of the scripts, by the table that the decisions in Rust are tested with.

use redis::Script;
use tidegate_testkit::RedisServer;

/// Makes the decisions of one case: `ARGV` has the time of a unit, the capacity, and four numbers for each
/// step.
const HARNESS: &str = "
local unit, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket, results = new_bucket(0, 0), {}
for index = 3, #ARGV, 4 do
    local now, operation = tonumber(ARGV[index]), ARGV[index + 1]
    local cost, wait = tonumber(ARGV[index + 2]) * unit, 0
    bucket = decode(encode(bucket), math.huge)
    if operation == 'spend' then
        wait = wait_for(bucket, cost, capacity * unit, now)
    end
    if operation == 'refund' then
        refund(bucket, cost, tonumber(ARGV[index + 3]), now)
    elseif wait == 0 then
        take(bucket, cost, now)
    end
    results[#results + 1] = math.ceil(wait)
    results[#results + 1] = math.ceil(debt_at(bucket, now))
end
return results
";

#[tokio::test]
async fn the_script_decides_like_the_bucket_in_rust() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let script = Script::new(&[include_str!("../../src/scripts/bucket.lua"), HARNESS].concat());
    let mut cases = 0;
    for case in include_str!("../../cases/bucket.txt").split("\ncase ").skip(1) {
        let mut lines = case.lines().filter(|line| !line.is_empty());
        let head: Vec<_> = lines.next().unwrap().split(' ').collect();
        let (count, period): (f64, f64) = (head[1].parse().unwrap(), head[2].parse().unwrap());
        let mut call = script.arg(period / count);
        call.arg(head[3]);
        let mut expected = Vec::new();
        for line in lines {
            let (step, result) = line.split_once(" = ").unwrap();
            let mut step: Vec<_> = step.split(' ').collect();
            step.resize(4, "0");
            step.iter().for_each(|part| {
                call.arg(*part);
            });
            expected.extend(result.split(' ').map(|number| number.parse::<i64>().unwrap()));
        }
        let results: Vec<i64> = call.invoke(&mut connection).unwrap();
        assert_eq!(results, expected, "{}", head[0]);
        cases += 1;
    }
    assert!(cases >= 10, "{cases}");
}

/// Makes the decisions of one case with a whole script, at the times of the case after a moment that is not
/// zero. `ARGV` has the number of arguments of a step, and for each step its time and its arguments. `read`
/// returns what is compared.
fn with_harness(script: &str, read: &str) -> Script {
    let bucket = include_str!("../../src/scripts/bucket.lua");
    Script::new(&format!(
        "{bucket}
local function decide(ARGV, now)
    local function server_time() return now end
    {script}
end
local function read(reply, now)
    {read}
end
local count, results = tonumber(ARGV[1]), {{}}
for index = 2, #ARGV, count + 1 do
    local arguments, now = {{}}, tonumber(ARGV[index]) + 1000000000
    for offset = 1, count do
        arguments[offset] = ARGV[index + offset]
    end
    results[#results + 1] = read(decide(arguments, now), now)
end
return results"
    ))
}

/// Runs each case of `table`, which has so many, on a key of its own, and compares what it returns.
async fn assert_decides(
    table: &str,
    at_least: usize,
    script: &Script,
    arguments: impl Fn(&[&str]) -> Vec<String>,
) {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut cases = 0;
    for case in table.split("\ncase ").skip(1) {
        let mut lines = case.lines().filter(|line| !line.is_empty());
        let head: Vec<_> = lines.next().unwrap().split(' ').collect();
        let (mut call, mut expected, mut is_first) = (script.key(head[0]), Vec::new(), true);
        call.key(format!("{}:processes", head[0]));
        for line in lines {
            let (step, result) = line.split_once(" = ").unwrap();
            let step: Vec<_> = step.split(' ').collect();
            let arguments = arguments(&[&step[..], &head[1..]].concat());
            if std::mem::take(&mut is_first) {
                call.arg(arguments.len());
            }
            call.arg(step[0]).arg(arguments);
            expected.push(result.to_owned());
        }
        let results: Vec<String> = call.invoke(&mut connection).unwrap();
        assert_eq!(results, expected, "{}", head[0]);
        cases += 1;
    }
    assert!(cases >= at_least, "{cases}");
}

#[tokio::test]
async fn the_script_decides_like_the_circuit_record_in_rust() {
    const READ: &str = "
        if reply[1] == 0 then return 'unknown' elseif reply[1] == 1 then return 'closed' end
        return string.format('open %d %d %d', reply[2], reply[3], reply[4])";
    let script = with_harness(include_str!("../../src/scripts/circuit.lua"), READ);
    let arguments = |step: &[&str]| {
        let number = |index: usize| step.get(index).copied().unwrap_or("0");
        let grace = if matches!(step[1], "restore" | "reopen") { number(5) } else { number(4) };
        let age = if step[1] == "reclose" { number(3) } else { number(6) };
        [step[1], step[2], number(3), number(4), "channel", "name", grace, age].map(str::to_owned).to_vec()
    };
    assert_decides(include_str!("../../cases/circuit.txt"), 5, &script, arguments).await;
    // There is no such clock in Rust.
    let set_back = "
case a_clock_that_is_set_back_delays_no_probe
50000000 open a 1000000 0 = open 1000000 0 0
10000000 read a = open 1000000 0 0
10400000 read a = open 600000 0 0
11000000 take_turn a 500000 100 = open 0 0 1
9000000 take_turn b 500000 100 = open 0 0 0
9499999 take_turn b 500000 100 = open 0 0 0
9500000 take_turn b 500000 100 = open 0 0 1
case a_clock_that_is_set_back_keeps_no_circuit_closed
50000000 close a = closed
10000000 read a = closed
10000000 reopen b 1000000 0 500 1 = closed
11000000 reopen b 1000000 0 500 1000000 = open 1000000 0 0
";
    assert_decides(set_back, 1, &script, arguments).await;
}

#[tokio::test]
async fn the_script_decides_like_the_window_record_in_rust() {
    // The number of a window is the moment in which it began.
    const READ: &str = "
        reply[1] = reply[1] - 1000000000
        return table.concat(reply, ' ')";
    let script = with_harness(include_str!("../../src/scripts/window.lua"), READ);
    let arguments = |step: &[&str]| {
        let known: u64 = step[1].parse().unwrap();
        let known = if known == 0 { 0 } else { known + 1_000_000_000 };
        let mut arguments = vec![known.to_string(), step[2].to_owned()];
        for calls in step[3..].chunks(3) {
            let (kind, length) = calls[0].split_once(':').unwrap();
            arguments.extend([calls[0], kind, length, calls[1], calls[2]].map(str::to_owned));
        }
        if arguments.len() == 7 {
            arguments.extend(["", "", "0", "0", "0"].map(str::to_owned));
        }
        arguments
    };
    assert_decides(include_str!("../../cases/window.txt"), 5, &script, arguments).await;
}

#[tokio::test]
async fn the_script_closes_like_the_gate_in_rust() {
    const READ: &str = "
        local closed = redis.call('HMGET', KEYS[1], 'closed_until', 'closed_for')
        local bucket = decode(redis.call('HGET', KEYS[1], 'quota'), now)
        return string.format('%d %d', math.max(0, bound_time(closed[1], closed[2], now) - now), math.ceil(debt_at(bucket, now)))";
    let script = with_harness(include_str!("../../src/scripts/close.lua"), READ);
    let arguments = |step: &[&str]| {
        let numbers = &step[step.len() - 3..];
        let unit = numbers[1].parse::<u64>().unwrap() / numbers[0].parse::<u64>().unwrap();
        let [wait, unit, capacity] = [step[2], &unit.to_string(), numbers[2]].map(str::to_owned);
        let [channel, name, process, age] = ["channel", "name", "process", "0"].map(str::to_owned);
        vec![wait, channel, name, process, age, "quota".into(), unit, capacity]
    };
    assert_decides(include_str!("../../cases/cooldown.txt"), 5, &script, arguments).await;
    // There is no such clock in Rust.
    let set_back = "
case a_clock_that_is_set_back_closes_for_no_longer 10 1000000 5
50000000 close 1000000 = 1000000 1400000
10000000 close 600000 = 1000000 1400000
10400000 close 500000 = 600000 1400000
10400000 close 1500000 = 1500000 1900000
10900000 close 900000 = 1000000 1400000
";
    assert_decides(set_back, 1, &script, arguments).await;
}

#[tokio::test]
async fn the_script_charges_what_was_spent_without_the_store() {
    const READ: &str = "return string.format('%d %d %d', reply[1], reply[2], reply[5])";
    let script = with_harness(include_str!("../../src/scripts/take_lease.lua"), READ);
    let arguments = |step: &[&str]| {
        let numbers = &step[step.len() - 3..];
        let unit = numbers[1].parse::<u64>().unwrap() / numbers[0].parse::<u64>().unwrap();
        let [process, amount, outage, spent, debt] = [1, 2, 3, 4, 5].map(|index| step[index]);
        let unit = unit.to_string();
        let quota = ["quota", &unit, numbers[2], amount, "0", "0", "0", "0", spent, debt];
        [process, "0", outage].iter().chain(&quota).map(|part| (*part).to_owned()).collect()
    };
    assert_decides(include_str!("../../cases/lease.txt"), 4, &script, arguments).await;
    // The gate is closed for a second in place of the first step.
    const CLOSE: &str = "if ARGV[1] == 'close' then
        redis.call('HSET', KEYS[1], 'closed_until', now + 1000000, 'closed_for', 1000000)
    end ";
    let script = [CLOSE, include_str!("../../src/scripts/take_lease.lua")].concat();
    let script = with_harness(&script, "return string.format('%d', reply[3])");
    let set_back = "
case a_clock_that_is_set_back_closes_for_no_longer 10 1000000 5
50000000 close 0 0 0 0 = 1000000
10000000 a 0 0 0 0 = 1000000
10400000 a 0 0 0 0 = 600000
11000000 a 0 0 0 0 = 0
";
    assert_decides(set_back, 1, &script, arguments).await;
}

/// A closed time that is taken back leaves one request, or what the quota has had since.
#[tokio::test]
async fn the_script_opens_what_was_closed() {
    const READ: &str = "
        local closed = redis.call('HGET', KEYS[1], 'closed_until')
        local bucket = decode(redis.call('HGET', KEYS[1], 'quota'), now)
        return string.format('%d %d', closed and closed - now or 0, math.ceil(debt_at(bucket, now)))";
    let (close, open) =
        (include_str!("../../src/scripts/close.lua"), include_str!("../../src/scripts/open.lua"));
    let arguments = "local ARGV = { 'channel', 'name', 'process', ARGV[5], 'quota' }";
    const TAKE: &str = "
        local bucket = decode(redis.call('HGET', KEYS[1], 'quota'), now, 0)
        take(bucket, tonumber(ARGV[1]), now)
        redis.call('HSET', KEYS[1], 'quota', encode(bucket))";
    let script = format!(
        "if ARGV[2] == 'open' then {arguments} {open} elseif ARGV[2] == 'take' then {TAKE} else {close} end"
    );
    let script = with_harness(&script, READ);
    let arguments = |step: &[&str]| {
        let age = step.get(3).unwrap_or(&"0");
        [step[2], step[1], "name", "process", age, "quota", "100000", "5"].map(str::to_owned).to_vec()
    };
    let table = "
case a_gate_is_opened_before_its_time
0 close 2000000 = 2000000 2400000
500000 open 0 = 0 400000
600000 open 0 = 0 300000
600000 close 1000000 = 1000000 1400000
case a_gate_that_has_opened_stays_as_it_is
0 close 1000000 = 1000000 1400000
1100000 open 0 = -100000 300000
case a_closing_from_before_it_undoes_no_opening
0 close 2000000 = 2000000 2400000
500000 open 0 = 0 400000
600000 close 2000000 100001 = 0 300000
600000 close 2000000 100000 = 2000000 2400000
case what_was_reserved_before_it_stays_so
0 take 5000000 = 0 5000000
0 close 2000000 = 2000000 5000000
500000 open 0 = 0 4500000
case what_was_reserved_before_a_part_of_it_stays_so
0 take 1000000 = 0 1000000
0 close 1000000 = 1000000 1400000
0 close 2000000 = 2000000 2400000
500000 open 0 = 0 500000
case an_opening_from_before_it_undoes_no_closing
0 close 2000000 = 2000000 2400000
500000 open 0 500001 = 1500000 1900000
500000 open 0 500000 = 0 400000
case a_clock_that_is_set_back_does_not_prevent_an_opening
50000000 close 2000000 = 2000000 2400000
10000000 open 0 1 = 0 400000
case a_clock_that_is_set_back_does_not_prevent_a_closing
50000000 close 2000000 = 2000000 2400000
50500000 open 0 = 0 400000
10000000 close 2000000 1 = 2000000 2400000
";
    assert_decides(table, 2, &script, arguments).await;
}

#[tokio::test]
async fn the_script_returns_whether_the_gate_was_opened_after_it_was_closed() {
    let script = format!(
        "if ARGV[2] == 'open' then local ARGV = {{ 'channel', 'name', 'process', '0' }} {} else {} end",
        include_str!("../../src/scripts/open.lua"),
        include_str!("../../src/scripts/close.lua")
    );
    let script = with_harness(&script, "return tostring(reply)");
    let arguments =
        |step: &[&str]| [step[2], step[1], "name", "process", step[3]].map(str::to_owned).to_vec();
    let table = "
case a_closing_from_before_an_opening
0 close 2000000 0 = 1
100000 close 1000000 0 = 1
500000 open 0 0 = 1
600000 close 2000000 100001 = 0
600000 close 2000000 100000 = 1
";
    assert_decides(table, 1, &script, arguments).await;
}

/// The settings of processes differ while a fleet is replaced.
#[tokio::test]
async fn a_process_with_short_periods_does_not_shorten_the_life_of_a_key() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let with_server = |script| {
        let [bucket, time] =
            [include_str!("../../src/scripts/bucket.lua"), include_str!("../../src/scripts/server_time.lua")];
        Script::new(&[bucket, time, script].concat())
    };
    let lease = |unit: &'static str| ["a", "0", "0", unit, unit, "10", "9", "0", "0", "0", "0", "0", "0"];
    let window = |micros| {
        let results = ["0", "0", micros, "time", micros, "1", "1"];
        results.into_iter().chain(["", "", "0", "0", "0"]).collect::<Vec<_>>()
    };
    let (hours_each, second_each, hours, second) = ("10000000000", "1000000", "10000000000", "1000000");
    let cases = [
        (
            include_str!("../../src/scripts/take_lease.lua"),
            lease(hours_each).to_vec(),
            lease(second_each).to_vec(),
        ),
        (include_str!("../../src/scripts/window.lua"), window(hours), window(second)),
    ];
    for (index, (script, long, short)) in cases.into_iter().enumerate() {
        let mut life_after = |arguments: &[&str]| -> i64 {
            let script = with_server(script);
            let mut call = script.prepare_invoke();
            call.key(format!("key{index}")).key(format!("processes{index}"));
            call.arg(arguments).invoke::<Vec<i64>>(&mut connection).unwrap();
            redis::cmd("PTTL").arg(format!("key{index}")).query(&mut connection).unwrap()
        };
        let before = life_after(&long);
        let after = life_after(&short);
        assert!(before - after < 60_000, "{index}: {before} ms, then {after} ms");
    }
}

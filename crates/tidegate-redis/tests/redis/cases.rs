//! The decisions of the scripts, by the table that the decisions in Rust are tested with.

use redis::Script;
use tidegate_testkit::RedisServer;

/// Makes the decisions of one case: `ARGV` has the time of a unit, the capacity, and four numbers for each step.
const HARNESS: &str = "
local unit, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket, results = new_bucket(0, 0), {}
for index = 3, #ARGV, 4 do
    local now, operation = tonumber(ARGV[index]), ARGV[index + 1]
    local cost, wait = tonumber(ARGV[index + 2]) * unit, 0
    bucket = decode(encode(bucket))
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

/// Makes the decisions of one case with a whole script, at the times of the case after a moment that is not zero. `ARGV` has
/// the number of arguments of a step, and for each step its time and its arguments. `read` returns what is compared.
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

/// Runs each case of `table` on a key of its own, and compares what it returns.
async fn assert_decides(table: &str, script: &Script, arguments: impl Fn(&[&str]) -> Vec<String>) {
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
    assert!(cases >= 3, "{cases}");
}

#[tokio::test]
async fn the_script_decides_like_the_circuit_record_in_rust() {
    const READ: &str = "
        if reply[1] == 0 then return 'unknown' elseif reply[1] == 1 then return 'closed' end
        return string.format('open %d %d %d', reply[2], reply[3], reply[4])";
    let script = with_harness(include_str!("../../src/scripts/circuit.lua"), READ);
    let arguments = |step: &[&str]| {
        let number = |index: usize| step.get(index).copied().unwrap_or("0");
        let grace = if step[1] == "restore" { number(5) } else { number(4) };
        [step[1], step[2], number(3), number(4), "channel", "name", grace].map(str::to_owned).to_vec()
    };
    assert_decides(include_str!("../../cases/circuit.txt"), &script, arguments).await;
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
    assert_decides(include_str!("../../cases/window.txt"), &script, arguments).await;
}

#[tokio::test]
async fn the_script_closes_like_the_gate_in_rust() {
    const READ: &str = "
        local closed_until = tonumber(redis.call('HGET', KEYS[1], 'closed_until'))
        local bucket = decode(redis.call('HGET', KEYS[1], 'quota'))
        return string.format('%d %d', math.max(0, closed_until - now), math.ceil(debt_at(bucket, now)))";
    let script = with_harness(include_str!("../../src/scripts/close.lua"), READ);
    let arguments = |step: &[&str]| {
        let numbers = &step[step.len() - 3..];
        let unit = numbers[1].parse::<u64>().unwrap() / numbers[0].parse::<u64>().unwrap();
        let [wait, unit, capacity] = [step[2], &unit.to_string(), numbers[2]].map(str::to_owned);
        vec![wait, "channel".into(), "name".into(), "process".into(), "quota".into(), unit, capacity]
    };
    assert_decides(include_str!("../../cases/cooldown.txt"), &script, arguments).await;
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
    assert_decides(include_str!("../../cases/lease.txt"), &script, arguments).await;
}

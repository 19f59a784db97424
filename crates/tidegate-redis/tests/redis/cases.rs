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

//! Counts instructions, allocations and sizes, and compares them with the budgets in `budgets.toml`.
//!
//!     cargo bench -p tidegate-benches --bench instructions              prints the counts
//!     cargo bench -p tidegate-benches --bench instructions -- check     fails above a budget
//!     cargo bench -p tidegate-benches --bench instructions -- refresh   makes the counts the budgets
//!
//! `.ci/budgets` installs valgrind and runs the check.
//!
//! The counts are made by valgrind, so they are the same on every run of the same build, whatever the load of
//! the machine. Each workload runs twice with a different number of repetitions, in processes of their own.
//! The difference is the cost of the repetitions. A count is that of a workload above a base, so that the
//! cost of the request and of the provider is left out. Sizes are those of the stack around [`provider`].

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::mem::size_of;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use http::Request;
use serde::Deserialize;
use tidegate::group::{Group, Member};
use tidegate::provider::HttpService;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, ResilienceBuilder, RetryLayer,
    TimeoutLayer,
};
use tidegate_benches::{
    Pace, UNREACHED, bare_request, call, call_to_end, provider, runtime, stack, stream_request,
    streaming_provider, usual_request,
};
use tower::{Layer, Service};

const BUDGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.toml");

/// A count may exceed its budget by this many per cent.
const TOLERANCE: i64 = 2;

/// A count of one repetition of `workload` above one of `base`. A repetition is a call, or an event of one
/// stream.
struct Row {
    unit: Unit,
    name: &'static str,
    workload: &'static str,
    base: &'static str,
    /// Of the two runs of each workload.
    repetitions: [u32; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    Instructions,
    Allocations,
    /// The `workload` is the name of a type.
    Bytes,
}

const fn row(unit: Unit, name: &'static str, workload: &'static str, base: &'static str) -> Row {
    Row { unit, name, workload, base, repetitions: [1_000, 3_000] }
}

/// A row of choices among members that are called before. The real times of those calls vary their count by
/// some 10 000 instructions, and many repetitions make that small.
const fn choice(name: &'static str, workload: &'static str) -> Row {
    Row { repetitions: [1_000, 41_000], ..row(Unit::Instructions, name, workload, "kept request") }
}

/// The rows of one unit are adjacent.
const ROWS: [Row; 28] = {
    use Unit::{Allocations, Bytes, Instructions};
    [
        row(Instructions, "whole_stack_bare_request", "stack", "provider"),
        row(
            Instructions,
            "whole_stack_bare_request_to_the_end_of_the_body",
            "stack, to end",
            "provider, to end",
        ),
        row(Instructions, "whole_stack_post", "stack, post", "provider, post"),
        row(Instructions, "all_parts_off_bare_request", "off", "provider"),
        row(Instructions, "all_parts_off_post", "off, post", "provider, post"),
        row(Instructions, "retry_bare_request", "retry", "provider"),
        row(Instructions, "backpressure_bare_request", "backpressure", "provider"),
        row(Instructions, "rate_limit_bare_request", "rate limit", "provider"),
        row(Instructions, "circuit_breaker_bare_request", "circuit breaker", "provider"),
        row(Instructions, "timeout_bare_request", "timeout", "provider"),
        row(Instructions, "open_circuit_rejection", "open circuit", "request"),
        row(Instructions, "open_circuit_rejection_of_the_stack", "open stack", "request"),
        row(Instructions, "stream_event", "events", "bare events"),
        row(Instructions, "stream_event_after_a_wait", "late events", "bare late events"),
        choice("choice_of_eight", "choice"),
        choice("choice_of_eight_with_a_look_at_their_gates", "choice of stacks"),
        choice("choice_of_eight_by_weight", "weighted choice"),
        choice("choice_of_eight_with_scarce_quotas", "choice by quota"),
        row(Instructions, "group_of_one", "group of one", "provider"),
        row(Instructions, "group_of_eight", "group", "provider"),
        row(Allocations, "whole_stack_bare_request", "stack", "provider"),
        row(Allocations, "whole_stack_post_beyond_the_copy_of_the_head", "stack, post", "copied head"),
        row(Allocations, "open_circuit_rejection", "open circuit", "request"),
        row(Allocations, "open_circuit_rejection_of_the_stack", "open stack", "request"),
        row(Allocations, "stream_event", "events", "bare events"),
        row(Allocations, "stream_event_after_a_wait", "late events", "bare late events"),
        row(Bytes, "future_of_the_stack", "future", ""),
        row(Bytes, "response_body_of_the_stack", "body", ""),
    ]
};

fn run_workload(workload: &str, repetitions: u32) {
    // Groups draw from the generator of the thread: each run draws the same members.
    fastrand::seed(7);
    let timeout = || TimeoutLayer::new(Duration::from_secs(600));
    match workload {
        "request" => repeat(repetitions, || drop(black_box(bare_request()))),
        "provider" => succeed(provider(), bare_request, repetitions),
        "provider, to end" => succeed_to_end(provider(), repetitions),
        "provider, post" => succeed(provider(), usual_request, repetitions),
        // The least that a copy takes: the URI, which shares its text, and one buffer for the headers.
        "copied head" => {
            let mut provider = provider();
            repeat(repetitions, || {
                let request = usual_request();
                let copy = (request.uri().clone(), Vec::<u8>::with_capacity(400));
                assert!(call(&mut provider, request));
                drop(black_box(copy));
            });
        }
        "off" => succeed(ResilienceBuilder::new("").service(provider()), bare_request, repetitions),
        "off, post" => succeed(ResilienceBuilder::new("").service(provider()), usual_request, repetitions),
        "stack" => succeed(stack().service(provider()), bare_request, repetitions),
        "stack, to end" => succeed_to_end(stack().service(provider()), repetitions),
        "stack, post" => succeed(stack().service(provider()), usual_request, repetitions),
        "retry" => succeed(RetryLayer::exponential().layer(provider()), bare_request, repetitions),
        "backpressure" => {
            succeed(BackpressureLayer::max_inflight(50).layer(provider()), bare_request, repetitions);
        }
        "rate limit" => {
            succeed(RateLimitLayer::per_second(UNREACHED).layer(provider()), bare_request, repetitions)
        }
        "circuit breaker" => succeed(CircuitBreakerLayer::new().layer(provider()), bare_request, repetitions),
        "kept request" => {
            let request = bare_request();
            repeat(repetitions, || _ = black_box(&request));
        }
        "choice" => choose(&group(8, |name| Member::new(name, provider())), 1_000, repetitions),
        "choice of stacks" => {
            choose(&group(8, |name| stack().name(name).service(provider()).into()), 1_000, repetitions);
        }
        "weighted choice" => {
            let weights = (1..).map(|weight: u8| weight.into());
            choose(
                &weighted_group(8, |name| stack().name(name).service(provider()).into(), weights),
                1_000,
                repetitions,
            );
        }
        // Each member has made about 12 calls.
        "choice by quota" => {
            let stack = |name: &str| stack().rate_limit(RateLimitLayer::per_day(20)).name(name);
            choose(&group(8, |name| stack(name).service(provider()).into()), 100, repetitions);
        }
        "group of one" => succeed(group(1, |name| Member::new(name, provider())), bare_request, repetitions),
        "group" => succeed(group(8, |name| Member::new(name, provider())), bare_request, repetitions),
        "timeout" => succeed(timeout().layer(provider()), bare_request, repetitions),
        "open circuit" => reject(open_circuit().layer(provider()), repetitions),
        "open stack" => reject(stack().circuit_breaker(open_circuit()).service(provider()), repetitions),
        "events" => stream(stack().service(streaming_provider(repetitions, Pace::Ready)), repetitions),
        "bare events" => stream(streaming_provider(repetitions, Pace::Ready), repetitions),
        "late events" => stream(stack().service(streaming_provider(repetitions, Pace::Pending)), repetitions),
        "bare late events" => stream(streaming_provider(repetitions, Pace::Pending), repetitions),
        _ => panic!("there is no workload {workload:?}"),
    }
}

fn repeat(repetitions: u32, mut repetition: impl FnMut()) {
    (0..repetitions).for_each(|_| repetition());
}

fn succeed<S: HttpService<Payload>>(mut service: S, request: fn() -> Request<Payload>, repetitions: u32) {
    repeat(repetitions, || assert!(call(&mut service, request())));
}

fn succeed_to_end<S: HttpService<Payload>>(mut service: S, repetitions: u32) {
    repeat(repetitions, || assert!(call_to_end(&mut service, bare_request()).is_some()));
}

fn group<S: Clone>(members: usize, member: impl Fn(&str) -> Member<S>) -> Group<S> {
    weighted_group(members, member, std::iter::repeat(1.0))
}

fn weighted_group<S: Clone>(
    members: usize,
    member: impl Fn(&str) -> Member<S>,
    weights: impl Iterator<Item = f32>,
) -> Group<S> {
    let members = (0..members).zip(weights);
    let members = members.map(|(number, weight)| member(&format!("{number}/m")).weight(weight));
    Group::new("group", members).expect("valid members")
}

/// Chooses members after this many calls, from which their times to the first token are known.
fn choose<S: HttpService<Payload> + Clone>(group: &Group<S>, calls: u32, repetitions: u32) {
    let (request, mut service) = (bare_request(), group.clone());
    (0..calls).for_each(|_| assert!(call(&mut service, bare_request())));
    repeat(repetitions, || _ = black_box(group.choose_for(black_box(&request))));
}

fn reject<S: HttpService<Payload>>(mut service: S, repetitions: u32) {
    repeat(repetitions, || assert!(!call(&mut service, bare_request())));
}

fn stream<S: HttpService<Payload>>(mut service: S, events: u32) {
    assert_eq!(call_to_end(&mut service, stream_request()), Some(events + 2));
}

/// A circuit that a failure has opened.
fn open_circuit() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(Duration::from_secs(86_400));
    let failing = tower::service_fn(|_: Request<Payload>| {
        let mut response = http::Response::new(Payload::empty());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        std::future::ready(Ok::<_, BoxError>(response))
    });
    assert!(!call(&mut layer.layer(failing), bare_request()));
    layer
}

fn sizes_of_stack<S: HttpService<Payload>>(_: &S) -> [(&'static str, i64); 2] {
    let future = size_of::<<S as Service<Request<Payload>>>::Future>();
    [("future", future), ("body", size_of::<<S as HttpService<Payload>>::Body>())]
        .map(|(name, bytes)| (name, bytes.try_into().expect("a small size")))
}

/// Counts of workloads, each counted once.
struct Counter {
    program: String,
    counted: BTreeMap<(Unit, &'static str, [u32; 2]), i64>,
}

impl Counter {
    fn row(&mut self, row: &Row) -> Result<i64, String> {
        if row.unit == Unit::Bytes {
            let size =
                sizes_of_stack(&stack().service(provider())).into_iter().find(|(of, _)| *of == row.workload);
            return size.map(|(_, bytes)| bytes).ok_or_else(|| format!("no size of {:?}", row.workload));
        }
        let above = self.workload(row, row.workload)? - self.workload(row, row.base)?;
        // Rounded to the nearest: allocations of a growing queue are fractions of one.
        let per = i64::from(row.repetitions[1] - row.repetitions[0]);
        Ok((above + per / 2).div_euclid(per))
    }

    /// The count of the additional repetitions of the longer run.
    fn workload(&mut self, row: &Row, workload: &'static str) -> Result<i64, String> {
        let key = (row.unit, workload, row.repetitions);
        if let Some(counted) = self.counted.get(&key) {
            return Ok(*counted);
        }
        let [short, long] = row.repetitions.map(|repetitions| self.run(row.unit, workload, repetitions));
        let count = long? - short?;
        self.counted.insert(key, count);
        Ok(count)
    }

    fn run(&self, unit: Unit, workload: &str, repetitions: u32) -> Result<i64, String> {
        let (tool, total): (&[&str], _) = match unit {
            Unit::Instructions => {
                (&["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"], "refs:")
            }
            _ => (&["--tool=memcheck", "--undef-value-errors=no"], "total heap usage:"),
        };
        let output = Command::new("valgrind")
            .args(tool)
            .args([&self.program, "run", workload, &repetitions.to_string()])
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .output()
            .map_err(|error| format!("valgrind does not start ({error}): install valgrind"))?;
        let log = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{workload:?} failed under valgrind:\n{log}"));
        }
        let total = log.lines().find_map(|line| line.split_once(total)?.1.split_whitespace().next());
        let total = total.and_then(|total| total.replace(',', "").parse().ok());
        total.ok_or_else(|| format!("valgrind printed no total for {workload:?}:\n{log}"))
    }
}

/// The counts in `budgets.toml`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    /// The compiler of the counts, as it prints its version.
    compiler: String,
    instructions: BTreeMap<String, Budget>,
    allocations: BTreeMap<String, Budget>,
    bytes: BTreeMap<String, Budget>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    measured: i64,
    /// What is owed for this count.
    goal: Option<i64>,
}

impl Budgets {
    fn read() -> Result<Self, String> {
        let text = fs::read_to_string(BUDGETS).map_err(|error| format!("{BUDGETS}: {error}"))?;
        toml::from_str(&text).map_err(|error| format!("{BUDGETS}: {error}"))
    }

    fn of(&self, row: &Row) -> Option<Budget> {
        let budgets = match row.unit {
            Unit::Instructions => &self.instructions,
            Unit::Allocations => &self.allocations,
            Unit::Bytes => &self.bytes,
        };
        budgets.get(row.name).copied()
    }
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Allocations => "allocations",
            Self::Bytes => "bytes",
        }
    }
}

/// `budgets.toml` with these counts. Goals are kept.
fn budgets_text(counts: &[i64], before: &Budgets, compiler: &str) -> String {
    let mut text = format!(
        "# What a call costs above the bare service. `.ci/budgets` fails if a count is more than {TOLERANCE} % above\n\
         # `measured`; `.ci/budgets refresh` writes the counts of today. `goal` is what is owed, and set by hand.\n\
         # benches/instructions.rs has the workload of each row.\n\n\
         compiler = {compiler:?}\n"
    );
    let mut unit = None;
    for (row, measured) in ROWS.iter().zip(counts) {
        if unit != Some(row.unit) {
            let _ = write!(text, "\n[{}]\n", row.unit.name());
        }
        unit = Some(row.unit);
        let goal = before.of(row).and_then(|budget| budget.goal);
        let goal = goal.map_or_else(String::new, |goal| format!(", goal = {goal}"));
        let _ = writeln!(text, "{} = {{ measured = {measured}{goal} }}", row.name);
    }
    text
}

/// Prints each count beside its budget. Returns how many exceed theirs.
fn compare(counts: &[i64], budgets: &Budgets) -> usize {
    let mut exceeded = 0;
    for (row, &count) in ROWS.iter().zip(counts) {
        let (unit, name) = (row.unit.name(), row.name);
        let Some(Budget { measured, goal }) = budgets.of(row) else {
            println!("{unit:12} {name:48} {count:>7}  NO BUDGET");
            exceeded += 1;
            continue;
        };
        let verdict = if count * 100 > measured * (100 + TOLERANCE) {
            exceeded += 1;
            match measured {
                0 => format!("  {count} ABOVE THE BUDGET"),
                _ => {
                    let more = 100.0 * (count - measured) as f64 / measured as f64;
                    format!("  {more:.1} % ABOVE THE BUDGET")
                }
            }
        } else if count * 100 < measured * (100 - TOLERANCE) {
            "  below the budget: refresh it".into()
        } else {
            String::new()
        };
        let goal =
            goal.filter(|goal| *goal < count).map_or_else(String::new, |goal| format!("  goal {goal}"));
        println!("{unit:12} {name:48} {count:>7}  budget {measured}{goal}{verdict}");
    }
    exceeded
}

fn compiler() -> String {
    let version = Command::new("rustc").arg("--version").output();
    version.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().into())
}

fn run(command: Option<&str>, program: String) -> Result<(), String> {
    let mut counter = Counter { program, counted: BTreeMap::new() };
    let counts = ROWS.iter().map(|row| counter.row(row)).collect::<Result<Vec<_>, _>>()?;
    let (budgets, compiler) = (Budgets::read()?, compiler());
    let exceeded = compare(&counts, &budgets);
    if budgets.compiler != compiler {
        println!("the budgets were measured with {}, the counts with {compiler}", budgets.compiler);
    }
    match command {
        Some("check") if exceeded > 0 => Err(format!(
            "{exceeded} counts exceed their budgets by more than {TOLERANCE} %. If that is intended: .ci/budgets refresh"
        )),
        Some("refresh") => fs::write(BUDGETS, budgets_text(&counts, &budgets, &compiler))
            .map_err(|error| format!("{BUDGETS}: {error}")),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<_> = env::args().filter(|argument| argument != "--bench").collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [_, "run", workload, repetitions] => {
            let repetitions = repetitions.parse().expect("a number of repetitions");
            // The stack of the main thread begins below the program's path and its environment, and the
            // alignment of what is copied changes the count. That of another thread begins at a page.
            thread::scope(|scope| {
                let workload = scope.spawn(|| {
                    let runtime = runtime();
                    let _context = runtime.enter();
                    run_workload(workload, repetitions);
                });
                workload.join().map_err(|_| "the workload panicked".into())
            })
        }
        [program] => run(None, program.into()),
        [program, command @ ("check" | "refresh")] => run(Some(command), program.into()),
        _ => Err("expected nothing, `check` or `refresh`".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

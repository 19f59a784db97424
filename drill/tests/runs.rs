//! Runs in virtual time: they repeat, and leave nothing behind.

use serde_json::Value;
use tidegate_drill::scenario::Scenario;
use tidegate_drill::stack::{ComparedStack, STACKS};
use tidegate_drill::{Figures, play};

/// Two minutes with errors, cut streams, bursts against a limit, an outage, and callers that leave.
const TROUBLE: &str = r#"
title = "a bit of everything"
duration = "2m"

[[callers]]
tenant = "a"
per_minute = 60
leave = 0.2

[[callers]]
tenant = "b"
arrivals = "bursts"
per_minute = 60
patience = "20s"

[[providers]]
name = "one"
requests_per_minute = 200
tokens_per_minute = 30_000
faults = [
    { kind = "error", share = 0.1, status = 503, retry_after = "2s" },
    { kind = "cut", share = 0.05 },
    { kind = "stall", share = 0.02, pings = "1s" },
    { kind = "reset", from = "30s", to = "50s" },
    { kind = "hang", from = "50s", to = "55s" },
    { kind = "quota_exhausted", from = "80s", to = "100s" },
    { kind = "stale", share = 0.1 },
]

[[providers]]
name = "two"
capacity = 20
context_tokens = 500
"#;

fn trouble() -> Scenario {
    Scenario::parse("trouble", TROUBLE).unwrap()
}

fn stack(name: &str) -> &'static ComparedStack {
    STACKS.iter().find(|stack| stack.name == name).unwrap()
}

fn served(figures: &Figures) -> f64 {
    figures.success_rate.expect("there are calls")
}

fn attempts(figures: &Figures) -> f64 {
    figures.attempts_per_call.expect("there are calls")
}

fn line(scenario: &Scenario, stack: &ComparedStack, seed: u64) -> String {
    serde_json::to_string(&play(scenario, stack, seed).unwrap()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_figures_on_any_thread() {
    let scenario = trouble();
    for stack in STACKS {
        let first = line(&scenario, stack, 5);
        let again = std::thread::scope(|scope| scope.spawn(|| line(&scenario, stack, 5)).join().unwrap());
        assert_eq!(first, again, "{}", stack.name);
    }
    assert_ne!(line(&scenario, &STACKS[0], 5), line(&scenario, &STACKS[0], 6));
}

#[test]
fn figures_are_one_line_of_json() {
    let text = line(&trouble(), stack("tidegate"), 1);
    assert!(!text.contains('\n'));
    let value: Value = serde_json::from_str(&text).unwrap();
    for key in [
        "scenario",
        "stack",
        "seed",
        "success_rate",
        "goodput",
        "first_token_p99_ms",
        "attempts_per_call",
        "futile_attempts",
        "rate_limited",
        "quota_used",
        "wasted_tokens",
        "fairness",
        "detect_ms",
        "recover_ms",
        "leaked_permits",
    ] {
        assert!(!value[key].is_null(), "{key} in {text}");
    }
}

#[test]
fn no_stack_leaks_a_permit_and_ours_serves_far_more_than_the_bare_client() {
    let scenario = trouble();
    let all: Vec<Figures> = STACKS.iter().map(|stack| play(&scenario, stack, 3).unwrap()).collect();
    let figures = |name: &str| all.iter().find(|figures| figures.stack == name).unwrap();
    for figures in &all {
        assert_eq!(figures.leaked_permits.unwrap_or(0), 0, "{figures:?}");
    }
    let (tidegate, bare) = (figures("tidegate"), figures("bare"));
    assert!(served(tidegate) > served(bare) + 0.4, "{tidegate:?} {bare:?}");
    assert!(tidegate.leaked_permits.is_some());
}

/// A group of three members, the first of which has died, and a provider after it.
const GROUP: &str = r#"
title = "a group"
duration = "2m"

[[callers]]
per_minute = 60

[[providers]]
name = "one"
group = "model"
faults = [{ kind = "reset" }]

[[providers]]
name = "two"
group = "model"

[[providers]]
name = "three"
group = "model"

[[providers]]
name = "last"
"#;

#[test]
fn any_member_of_a_group_takes_a_call_in_every_stack_but_the_bare_one() {
    let scenario = Scenario::parse("group", GROUP).unwrap();
    for stack in STACKS {
        let figures = play(&scenario, stack, 3).unwrap();
        assert_eq!(served(&figures) > 0.9, stack.name != "bare", "{figures:?}");
        // With the order of a chain each call has at least one attempt more.
        assert!(attempts(&figures) < 1.9, "{figures:?}");
        assert_eq!((figures.detect_ms, figures.leaked_permits.unwrap_or(0)), (None, 0), "{figures:?}");
        assert_eq!(line(&scenario, stack, 3), line(&scenario, stack, 3), "{}", stack.name);
    }
}

/// The bare client meets each fault as often as the scenario has it.
#[test]
fn the_bare_client_meets_the_faults_of_the_scenario() {
    let play = |fault: &str| {
        let text = format!(
            "title = \"t\"\nduration = \"10m\"\n[[callers]]\nper_minute = 60\n[[providers]]\nname = \"one\"\nfaults = [{fault}]"
        );
        play(&Scenario::parse("test", &text).unwrap(), stack("bare"), 1).unwrap()
    };
    let near = |fault: &str, expected: f64| {
        let figures = play(fault);
        assert!((served(&figures) - expected).abs() < 0.04, "{fault}: {figures:?}");
        assert_eq!(figures.attempts_per_call, Some(1.0));
        figures
    };
    near("", 1.0);
    for kind in ["error", "reset", "hang", "cut", "stall", "error_event", "empty", "quota_exhausted", "stale"]
    {
        near(&format!("{{ kind = \"{kind}\", share = 0.4 }}"), 0.6);
    }
    let outage = near("{ kind = \"reset\", from = \"2m\", to = \"4m\" }", 0.8);
    assert!(
        outage.recover_ms.is_some_and(|millis| millis < 10_000) && outage.detect_ms.is_none(),
        "{outage:?}"
    );
    let limited = near("{ kind = \"error\", status = 429, retry_after = \"1h\", from = \"5m\" }", 0.5);
    // All but the first are sent although the wait was reported.
    assert_eq!(limited.futile_attempts, limited.rate_limited - 1);
    let slow = near("{ kind = \"slow\", factor = 3 }", 1.0);
    assert!(slow.first_token_p50_ms.is_some_and(|millis| (1_500..2_100).contains(&millis)), "{slow:?}");
}

/// A stack that has a circuit does not wait in front of an open one if there is another provider.
#[test]
fn an_open_circuit_is_left_for_the_next_provider_at_once() {
    let text = "title = \"t\"\nduration = \"5m\"\n[[callers]]\nper_minute = 120\n[[providers]]\nname = \"one\"\n\
                faults = [{ kind = \"reset\" }]\n[[providers]]\nname = \"two\"";
    let scenario = Scenario::parse("outage", text).unwrap();
    for name in ["tower-resilience", "hand-glued", "executor order", "tidegate"] {
        let figures = play(&scenario, stack(name), 1).unwrap();
        assert!(served(&figures) > 0.99 && attempts(&figures) < 1.2, "{figures:?}");
        assert!(figures.first_token_p50_ms.is_some_and(|millis| millis < 1_000), "{figures:?}");
    }
}

/// A stack that has a limiter does not spend the limit on calls whose patience ends before the answer does.
#[test]
fn no_stack_spends_its_limit_on_calls_that_are_too_late() {
    let text = "title = \"t\"\nduration = \"5m\"\n[[callers]]\nper_minute = 300\n[[providers]]\nname = \"one\"\n\
                requests_per_minute = 100";
    let scenario = Scenario::parse("limit", text).unwrap();
    for stack in STACKS.iter().filter(|stack| stack.name != "bare") {
        let figures = play(&scenario, stack, 1).unwrap();
        assert!(
            figures.wasted_tokens * 10 < figures.billed_tokens && figures.rate_limited < 20,
            "{figures:?}"
        );
    }
}

/// Figures of nothing are absent: a share of no calls has no meaning.
#[test]
fn a_run_without_calls_has_no_shares() {
    let text = "title = \"t\"\nduration = \"1ms\"\n[[callers]]\nper_minute = 0.001\n[[callers]]\ntenant = \"b\"\nper_minute = 0.001\n\
                [[providers]]\nname = \"one\"\nrequests_per_minute = 5";
    let scenario = Scenario::parse("none", text).unwrap();
    let figures = play(&scenario, stack("tidegate"), 1).unwrap();
    assert_eq!((figures.calls, figures.success_rate, figures.attempts_per_call), (0, None, None));
    let text = line(&scenario, stack("tidegate"), 1);
    let value: Value = serde_json::from_str(&text).unwrap();
    for key in ["success_rate", "goodput", "attempts_per_call", "quota_used", "fairness", "total_p50_ms"] {
        assert!(value[key].is_null(), "{key} in {text}");
    }
    assert!(!text.contains("-0"), "{text}");
}

//! Files of any keys and values: each runs, or is rejected with the name of a key.

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use tidegate_drill::play;
use tidegate_drill::scenario::Scenario;
use tidegate_drill::stack::STACKS;

/// The documented keys of a table, each with values that are valid for it alone.
type Keys = &'static [(&'static str, &'static [&'static str])];

const ROOT: Keys = &[
    ("title", &["\"t\"", "'one line'"]),
    ("duration", &["\"1s\"", "\"2s\"", "\"20s\""]),
    ("seed", &["0", "7", "9223372036854775807"]),
];

const CALLERS: Keys = &[
    ("tenant", &["\"a\"", "\"b\""]),
    ("arrivals", &["\"poisson\"", "\"even\"", "\"bursts\"", "\"bursts\"\nburst = 3"]),
    ("per_minute", &["0.5", "60", "120.0"]),
    ("from", &["\"0s\"", "\"1s\""]),
    ("to", &["\"1s\"", "\"2s\""]),
    ("patience", &["\"1ms\"", "\"3s\"", "\"20s\""]),
    ("leave", &["0", "0.5", "1"]),
    ("leave_after", &["\"1s\"", "[\"0s\", \"1s\"]"]),
    ("prompt_tokens", &["0", "[1, 500]"]),
    ("output_tokens", &["1", "[2, 30]"]),
    ("max_tokens", &["60", "4294967295"]),
    ("streams", &["0", "0.5", "1.0"]),
];

const PROVIDER: Keys = &[
    ("dialect", &["\"openai\"", "\"anthropic\"", "\"deepseek\"", "\"mistral\""]),
    ("first_token", &["\"0s\"", "[\"100ms\", \"1day\"]"]),
    ("slow", &["0", "0.5"]),
    ("slow_first_token", &["\"9s\"", "\"1day\""]),
    ("pace", &["\"0s\"", "\"5ms\"", "\"1day\""]),
    ("capacity", &["1", "1000000"]),
    ("requests_per_minute", &["1", "500"]),
    ("tokens_per_minute", &["1", "30_000"]),
    ("context_tokens", &["1", "1000"]),
];

const FAULT: Keys = &[
    (
        "kind",
        &[
            "\"error\"",
            "\"reset\"",
            "\"hang\"",
            "\"slow\"",
            "\"cut\"",
            "\"stall\"",
            "\"error_event\"",
            "\"empty\"",
            "\"quota_exhausted\"",
            "\"capacity\"",
            "\"stale\"",
        ],
    ),
    ("from", &["\"0s\"", "\"1s\""]),
    ("to", &["\"1s\"", "\"1day\""]),
    ("share", &["0", "0.5", "1"]),
    ("status", &["400", "429", "529", "599"]),
    ("retry_after", &["\"0s\"", "\"2s\"", "\"1day\""]),
    ("after_tokens", &["0", "5", "4294967295"]),
    ("pings", &["\"100ms\"", "\"1s\""]),
    ("factor", &["1", "10", "1000"]),
    ("capacity", &["1", "4294967295"]),
];

/// Values that hardly any key takes.
const INVALID: &[&str] = &[
    "-1",
    "-0.0",
    "1.5",
    "1e300",
    "inf",
    "-inf",
    "nan",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999999999999999999999999999",
    "0x10",
    "true",
    "\"\"",
    "\"x\"",
    "\"-1s\"",
    "\"99999999999999years\"",
    "\"1ns\"",
    "\"\\u0000\"",
    "\"\u{1f980}\"",
    "[]",
    "[3]",
    "[3, 1]",
    "[\"2s\", \"1s\"]",
    "[1, 2, 3]",
    "{}",
    "{ a = 1 }",
    "[[]]",
    "1979-05-27",
];

/// Lines of some of the keys, the required ones mostly among them, a few with an invalid value, twice, or
/// misspelt.
fn table(keys: Keys, required: &'static [&'static str]) -> impl Strategy<Value = String> {
    let lines = subsequence(keys.to_vec(), 0..=keys.len().min(4)).prop_flat_map(move |mut chosen| {
        chosen.extend(keys.iter().filter(|(key, _)| required.contains(key)));
        chosen.sort_unstable();
        chosen.dedup();
        chosen.into_iter().map(line).collect::<Vec<_>>()
    });
    lines.prop_map(|lines| lines.concat())
}

fn line((key, values): (&'static str, &'static [&'static str])) -> impl Strategy<Value = String> {
    let valid = select(values).prop_map(move |value| format!("{key} = {value}\n"));
    let invalid = select(INVALID).prop_map(move |value| format!("{key} = {value}\n"));
    let misspelt = Just(format!("{key}s = 1\n"));
    let twice = Just(format!("{key} = {0}\n{key} = {0}\n", values[0]));
    let absent = Just(String::new());
    prop_oneof![200 => valid, 4 => invalid, 1 => misspelt, 1 => twice, 1 => absent]
}

fn callers() -> impl Strategy<Value = String> {
    let once = prop_oneof![line(("burst", &["1", "20"])), line(("per_minute", &["1"]))];
    prop_oneof![
        8 => table(CALLERS, &["per_minute"]),
        1 => once.prop_map(|line| format!("arrivals = \"once\"\n{line}")),
    ]
    .prop_map(|lines| format!("[[callers]]\n{lines}"))
}

fn provider() -> impl Strategy<Value = String> {
    let fault = table(FAULT, &["kind"]).prop_map(|lines| format!("[[providers.faults]]\n{lines}"));
    let parts = (table(PROVIDER, &[]), prop::collection::vec(fault, 0..2));
    parts.prop_map(|(lines, faults)| format!("{lines}{}", faults.concat()))
}

fn file() -> impl Strategy<Value = String> {
    let names = [("name", &["\"one\"", "\"two\"", "\"three\""][..]), ("group", &["\"one\""])];
    let name = |index: usize| prop_oneof![20 => Just(format!("name = \"p{index}\"\n")), 1 => line(names[0])];
    let group =
        prop_oneof![6 => Just(String::new()), 3 => Just("group = \"all\"\n".to_owned()), 1 => line(names[1])];
    let parts = (
        table(ROOT, &["title", "duration"]),
        prop::collection::vec(callers(), 1..3),
        (name(0), provider()),
        prop::option::of((name(1), provider())),
        group,
    );
    parts.prop_map(|(root, callers, first, second, group)| {
        let group = if second.is_some() { group } else { String::new() };
        let providers = std::iter::once(first).chain(second);
        let providers = providers.map(|(name, lines)| format!("[[providers]]\n{name}{group}{lines}"));
        root + &callers.concat() + &providers.collect::<String>()
    })
}

/// Whether a line of an error names a key of the documentation, or one that the file has.
fn names_a_key(line: &str) -> bool {
    let mut keys = [ROOT, CALLERS, PROVIDER, FAULT].into_iter().flatten().map(|(key, _)| *key);
    ["callers", "providers", "faults", "name", "group", "burst"].iter().any(|key| line.contains(key))
        || keys.any(|key| line.contains(key))
}

/// Words of the parser, which no user knows.
const FOREIGN: &[&str] =
    &["expected u", "struct ", "string only", "wanted", "variant", "integer", "invalid type"];

/// A file in which this line is in its table.
fn with(table: &str, key: &str, line: &str) -> String {
    let tables = [
        ("root", "title = \"t\"\nduration = \"1m\"\n"),
        ("callers", "[[callers]]\nper_minute = 60\n"),
        ("providers", "[[providers]]\nname = \"one\"\n"),
        ("faults", "[[providers.faults]]\nkind = \"error\"\n"),
    ];
    let lines = tables.into_iter().map(|(name, lines)| {
        let is_here = name == table;
        let kept = lines.lines().filter(|kept| !(is_here && kept.starts_with(&format!("{key} "))));
        let kept: String = kept.map(|kept| format!("{kept}\n")).collect();
        if is_here { format!("{kept}{line}\n") } else { kept }
    });
    lines.collect()
}

/// Each key with each value that it may not have, and with those of other keys.
#[test]
fn every_rejection_names_the_key_and_what_is_expected() {
    let name: Keys = &[("name", &[]), ("group", &[])];
    let tables =
        [("root", ROOT), ("callers", CALLERS), ("callers", &[("burst", &[])]), ("providers", PROVIDER)];
    let keys = tables.into_iter().chain([("providers", name), ("faults", FAULT)]);
    let keys: Vec<_> =
        keys.flat_map(|(table, keys)| keys.iter().map(move |(key, _)| (table, *key))).collect();
    let valid = [ROOT, CALLERS, PROVIDER, FAULT].into_iter().flatten().flat_map(|(_, values)| *values);
    let mut values: Vec<_> = valid.chain(INVALID).filter(|value| !value.contains('\n')).collect();
    values.extend(&["", "'a", "1__0", "word", "\"a = b\" c", "[ # x = 1\n99999999999999999999]"]);
    let mut rejected = 0;
    for (table, key) in keys {
        for value in &values {
            let line = format!("{key} = {value}");
            let Err(error) = Scenario::parse("any", &with(table, key, &line)) else { continue };
            rejected += 1;
            for mistake in error.to_string().lines() {
                let is_named = mistake.contains(&format!("{key}:")) || mistake.contains(&format!("`{key}`"));
                assert!(is_named && mistake.starts_with("line "), "{line}: {mistake}");
                let is_helpful = mistake.contains("expected ") || mistake.contains("did you mean ");
                assert!(is_helpful && mistake.chars().count() < 250, "{line}: {mistake}");
                assert!(!FOREIGN.iter().any(|word| mistake.contains(word)), "{line}: {mistake}");
                assert!(!mistake.contains(char::is_control), "{line}: {mistake:?}");
            }
            assert_eq!(error.to_string().lines().count(), 1, "{line}: {error}");
        }
    }
    assert!(rejected > 1_500, "{rejected}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_file_runs_or_is_rejected_with_the_name_of_a_key(text in file(), stack in select(STACKS), seed in any::<u64>()) {
        match Scenario::parse("any", &text) {
            Ok(scenario) => {
                let figures = play(&scenario, &stack, seed).unwrap();
                prop_assert!(figures.served <= figures.calls, "{figures:?}");
                prop_assert_eq!(figures.leaked_permits.unwrap_or(0), 0, "{:?}", figures);
            }
            Err(error) => {
                for line in error.to_string().lines() {
                    prop_assert!(names_a_key(line), "{line}");
                    prop_assert!(!FOREIGN.iter().any(|word| line.contains(word)), "{line}");
                }
            }
        }
    }
}

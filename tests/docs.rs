//! Checks the pages in `docs/` against the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::ErrorCode;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// All Rust files below these directories, by their path from the root of the workspace.
fn sources(directories: &[&str]) -> BTreeMap<String, String> {
    fn collect(directory: &Path, files: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root()).expect("below the root").to_string_lossy().replace('\\', "/");
                files.insert(name, fs::read_to_string(&path).expect("UTF-8"));
            }
        }
    }
    let mut files = BTreeMap::new();
    directories.iter().for_each(|directory| collect(&root().join(directory), &mut files));
    files
}

/// The texts between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The numbers of pitfalls in a text, such as `P07`.
fn pitfall_numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_ascii_alphanumeric()).filter(|word| {
        word.len() == 3 && word.starts_with('P') && word[1..].bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn cited_pitfalls(source: &str) -> BTreeSet<&str> {
    source.lines().filter(|line| line.trim_start().starts_with("//")).flat_map(pitfall_numbers).collect()
}

#[test]
fn every_pitfall_is_kept_by_a_test_and_every_citation_is_listed() {
    let page = page("docs/pitfalls.md");
    let entries: Vec<_> = page.split("\n- **").skip(1).collect();
    let listed: Vec<_> = entries.iter().map(|entry| &entry[..3]).collect();
    let expected: Vec<_> = (1..=listed.len()).map(|number| format!("P{number:02}")).collect();
    assert_eq!(listed, expected, "the entries are numbered without a gap");

    let sources = sources(&["crates", "tests"]);
    for (name, source) in &sources {
        for number in cited_pitfalls(source) {
            assert!(listed.contains(&number), "{name} cites {number}, which docs/pitfalls.md does not list");
        }
    }
    for (number, entry) in listed.iter().zip(&entries) {
        let tests: Vec<_> = code_spans(entry).filter(|span| span.ends_with(".rs")).collect();
        assert!(!tests.is_empty(), "{number} names no test");
        for test in tests {
            let source =
                sources.get(test).unwrap_or_else(|| panic!("{number} names {test}, which is missing"));
            assert!(cited_pitfalls(source).contains(number), "{test} does not cite {number}");
            assert!(source.contains("#[test]") || source.contains("::test") || source.contains("proptest!"));
        }
    }
}

/// The items of the seeds about metrics, events, health and alerts. A citation is `Seed item 24` or `Seed
/// items 24, 41 and 85` in a comment; a range is an overview, and cites none of them.
#[test]
fn every_seed_item_about_operation_is_cited_by_a_test() {
    let sources = sources(&["crates", "tests"]);
    let mut cited = BTreeSet::new();
    for citation in sources.values().flat_map(|source| source.split("Seed item").skip(1)) {
        let words = citation.trim_start_matches('s').split_whitespace();
        let words: Vec<_> = words
            .take_while(|word| {
                *word == "and" || word.starts_with(|c: char| c.is_ascii_digit()) || *word == "to"
            })
            .collect();
        if !words.contains(&"to") {
            cited.extend(
                words
                    .iter()
                    .filter_map(|word| word.trim_end_matches([',', '.', ':', ';']).parse::<u32>().ok()),
            );
        }
    }
    let items = (22..=41).chain([52, 60]).chain(65..=69).chain([73]).chain(82..=90);
    let missing: Vec<_> = items.filter(|item| !cited.contains(item)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// One `tracing` event in the source.
#[derive(Debug)]
struct EventCall<'a> {
    level: String,
    fields: Vec<&'a str>,
    message: &'a str,
}

/// The events of a file. Their arguments are split at the commas outside of strings and brackets.
fn event_calls(source: &str) -> Vec<EventCall<'_>> {
    let mut calls = Vec::new();
    for after in source.split("tracing::").skip(1) {
        let Some((level, arguments)) = after.split_once("!(") else { continue };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let arguments = top_level_arguments(arguments);
        let at =
            arguments.iter().position(|argument| argument.starts_with('"')).expect("an event has a message");
        let name = |field: &&str| field.trim_start_matches(['%', '?']).len();
        let fields = arguments[..at].iter().map(|field| &field[field.len() - name(field)..]);
        calls.push(EventCall {
            level: level.to_uppercase(),
            fields: fields.map(|field| field.split('=').next().expect("a part").trim()).collect(),
            message: arguments[at].trim_matches('"'),
        });
    }
    calls
}

/// The arguments of a macro call, from behind its opening bracket to the closing one.
fn top_level_arguments(text: &str) -> Vec<&str> {
    let (mut arguments, mut begin, mut depth, mut in_string) = (Vec::new(), 0, 0_u32, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b',' if depth == 0 => {
                arguments.push(text[begin..at].trim());
                begin = at + 1;
            }
            b')' => {
                arguments.push(text[begin..at].trim());
                break;
            }
            _ => {}
        }
    }
    arguments.retain(|argument| !argument.is_empty());
    arguments
}

#[test]
fn every_event_is_listed_with_its_level_and_fields() {
    let page = page("docs/events.md");
    let table = page.split("\n## ").next().expect("a part");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let mut undocumented: BTreeSet<_> = rows.iter().map(|row| row[1].trim_matches('`')).collect();

    for (name, source) in sources(&["crates"]).iter().filter(|(name, _)| name.contains("/src/")) {
        let without_tests = source.split("#[cfg(test)]\nmod ").next().expect("a part");
        for EventCall { level, fields, message } in event_calls(without_tests) {
            let row = rows.iter().find(|row| row[1].trim_matches('`') == message);
            let row = row.unwrap_or_else(|| panic!("{name}: docs/events.md does not list `{message}`"));
            assert_eq!(row[2], level, "{name}: the level of `{message}`");
            assert_eq!(code_spans(row[3]).collect::<Vec<_>>(), fields, "{name}: the fields of `{message}`");
            undocumented.remove(message);
        }
    }
    assert!(undocumented.is_empty(), "docs/events.md lists events that are not emitted: {undocumented:?}");
}

/// The message of the event of a rejection is its reason.
#[test]
fn every_reason_of_a_rejection_is_listed() {
    let source = page("crates/tidegate-core/src/rejection_reason.rs");
    let texts = source.split("fn as_str").nth(1).expect("as_str").split("\n    }").next().expect("its body");
    let reasons: Vec<_> = texts.split('"').skip(1).step_by(2).collect();
    assert!(reasons.len() > 10, "{reasons:?}");
    let page = page("docs/events.md");
    for reason in reasons {
        assert!(page.contains(&format!("`{reason}`")), "docs/events.md does not list `{reason}`");
    }
}

/// The names of `docs/metrics.md`, as Prometheus has them. The page is checked against the code by a test of
/// `tidegate`.
fn prometheus_names() -> BTreeSet<String> {
    let page = page("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `tidegate.") || line.starts_with("| `gen_ai."));
    let names = rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let unit = if cells[3] == "seconds" { "_seconds" } else { "" };
        let suffixes: &[&str] = match cells[2] {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let name = cells[1].trim_matches('`').replace('.', "_");
        suffixes.iter().map(move |suffix| format!("{name}{unit}{suffix}"))
    });
    names.collect()
}

/// Checks that every metric in a text is recorded, and returns their names.
fn recorded_names<'a>(file: &str, text: &'a str, known: &BTreeSet<String>) -> BTreeSet<&'a str> {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    let is_metric = |word: &&str| word.starts_with("tidegate_") || word.starts_with("gen_ai_");
    // The one label with such a name.
    let names: BTreeSet<_> = words.filter(is_metric).filter(|word| *word != "gen_ai_token_type").collect();
    for name in &names {
        assert!(known.contains(*name), "{file}: {name} is not in docs/metrics.md");
    }
    names
}

#[test]
fn every_metric_of_the_alerts_is_recorded() {
    let file = "docs/prometheus/alerts.yaml";
    let names = page(file);
    let names = recorded_names(file, &names, &prometheus_names());
    assert!(names.len() > 8, "{names:?}");
}

/// Seed items 73 and 84.
#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let (file, known) = ("docs/grafana/tidegate.json", prometheus_names());
    let dashboard: serde_json::Value = serde_json::from_str(&page(file)).expect(file);
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries: Vec<_> = queries.map(|query| query["expr"].as_str().expect("a query")).collect();
    let queries = queries.join("\n");
    let shown = recorded_names(file, &queries, &known);
    // One of the three series of a histogram is enough.
    let family = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find(|suffix| name.ends_with(suffix));
        name.strip_suffix(suffix.unwrap_or_default()).unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<_> = shown.into_iter().map(family).collect();
    assert_eq!(known.iter().map(|name| family(name)).collect::<BTreeSet<_>>(), shown);

    let ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "ids are unique");
}

#[test]
fn every_code_is_listed_with_its_name_and_its_effect() {
    let events = page("docs/events.md");
    for code in ErrorCode::ALL {
        let row = events.lines().find(|line| line.starts_with(&format!("| {} |", code.code())));
        let row = row.unwrap_or_else(|| panic!("{} is not listed", code.code()));
        let yes = |is: bool| if is { "yes" } else { "no" };
        let effect = format!("| {} | {} |", yes(code.is_retryable()), yes(code.is_fallbackable()));
        assert!(row.contains(&format!("| `{}` |", code.name())) && row.ends_with(&effect), "{row}: {effect}");
    }
}

/// The chain of three providers is short, with a plain and a streamed answer.
#[test]
fn a_chain_by_name_takes_few_lines() {
    for (file, functions, most) in [
        ("examples/by_name.rs", &["async fn ask("][..], 15),
        ("adapters/async-openai/src/main.rs", &["async fn ask(", "async fn send("], 25),
    ] {
        let source = page(file);
        let lines = functions.iter().map(|function| {
            let body = source.split(&format!("\n{function}")).nth(1).expect(function);
            let lines = body.split_inclusive('\n').take_while(|line| *line != "}\n");
            1 + lines.filter(|line| !line.trim().is_empty() && !line.trim().starts_with("//")).count()
        });
        let lines: usize = lines.sum();
        assert!(lines <= most, "{file}: {lines} lines");
    }
}

/// The names by which readers of other implementations of the protocol search: each is that of a public item,
/// or an alias of one.
#[test]
fn every_name_of_the_protocol_is_found_by_search() {
    const NAMES: &str = "
        AdvancedCircuitBreaker AiClient AlternativeModelFallback BackpressureConfig CachedResponseFallback CallResult
        CircuitBreaker CircuitBreakerConfig CircuitBreakerException CircuitBreakerOpenException
        CircuitBreakerTimeoutException CircuitState FallbackChain FallbackFailedException FallbackStrategy
        IntelligentFallbackManager IntelligentRetryManager LLMFallbackContext NonRetryableError PreflightChecker
        RateLimiter RateLimiterConfig ResilienceConfig ResilientConfig ResilientExecutor ResilientLLMClient
        RetryConfig RetryStrategy RetryableError SignalsSnapshot SimplifiedPromptFallback StaticResponseFallback

        add_strategy emergency_response execute_fallback execute_with_retry get_fallback_metrics get_health_status
        get_metrics get_priority get_retry_metrics reset_resilience_state retry_on_failure signals_snapshot

        adaptive alternative_models attempt_number avg_attempts_per_operation avg_response_time backoff_multiplier
        base_delay burst_size circuit_breaker_used circuit_state consecutive_failures consecutive_successes
        cooldown_seconds current_inflight custom_config enable_circuit_breaker enable_fallbacks enable_retries
        exponential_backoff failed_after_retries failure_rate failure_threshold fallback_priority fallback_strategy
        fallback_type fallback_used fibonacci_backoff fixed_delay initial_delay jitter jitter_range last_failure_time
        last_success_time linear_backoff max_attempts max_delay max_inflight max_retries max_wait_duration
        minimum_throughput priority rate_remaining recent_error_rate requests_per_second resilience_metadata
        retry_success_rate retry_used retryable_exceptions similarity_score similarity_threshold slow_call_rate
        slow_call_rate_threshold slow_call_threshold sliding_window_size strategy_stats success_rate success_threshold
        successful_retries system_load timeout_seconds tokens_used total_attempts total_calls total_failures
        total_slow_calls total_strategies usage_count window_size

        AI_LIB_BREAKER_COOLDOWN_SECS AI_LIB_BREAKER_FAILURE_THRESHOLD AI_LIB_MAX_INFLIGHT AI_LIB_RPS";
    let mut known = BTreeSet::new();
    for listing in ["tidegate", "tidegate-core", "tidegate-providers"] {
        let listing = page(&format!("docs/public-api/{listing}.txt"));
        known.extend(listing.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
    }
    for source in sources(&["crates/tidegate/src", "crates/tidegate-core/src"]).values() {
        for aliases in source.split("#[doc(alias").skip(1).filter_map(|rest| rest.split(']').next()) {
            known.extend(aliases.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let missing: Vec<_> = NAMES.split_whitespace().filter(|name| !known.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The paths in the pages exist: `crates/tidegate/src/lib.rs` and the like.
#[test]
fn every_path_in_the_pages_exists() {
    const TOP: [&str; 7] = ["crates/", "tests/", "examples/", "benches/", "fuzz/", "docs/", ".ci/"];
    let names = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let docs = docs.map(|entry| format!("docs/{}", entry.expect("an entry").file_name().display()));
    let docs = docs.filter(|name| name.ends_with(".md"));
    for name in names.into_iter().chain(docs) {
        let page = page(&name);
        let links = page.split("](").skip(1).filter_map(|link| link.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
        for link in links {
            let target = root().join(&name).with_file_name(link);
            assert!(target.exists(), "{name}: the link to {link} is broken");
        }
        for span in code_spans(&page.replace("```", "")) {
            if TOP.iter().any(|top| span.starts_with(top)) && !span.contains(['*', ' ', '<', '\n']) {
                assert!(root().join(span).exists(), "{name}: {span} does not exist");
            }
        }
    }
}

#[test]
fn the_pages_state_the_rust_version_of_the_manifest() {
    let manifest = page("Cargo.toml");
    let version = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next());
    let stated = format!("Rust {} or newer", version.expect("rust-version"));
    for name in ["README.md", "crates/tidegate/src/lib.rs"] {
        assert!(page(name).contains(&stated), "{name} does not state: {stated}");
    }
}

//! The origin of each setting.

use std::collections::HashMap;

use super::*;

#[test]
fn each_setting_is_explained_with_its_origin() {
    let file = file(
        "preset = \"lesson\"\nretry = { base_delay = \"1s\" }\ncircuit_breaker = { cooldown = 20 }\n\
         backpressure = { max_queued = 7 }",
    );
    let vars = HashMap::from([
        ("AI_LIB_BREAKER_COOLDOWN_SECS", "15"),
        ("AI_LIB_BREAKER_FAILURE_THRESHOLD", "5"),
        ("AI_LIB_RPS", "2.5"),
    ]);
    let env = |name: &str| vars.get(name).map(Into::into);
    let mut config = file.clone().checked().unwrap().overlay(env).unwrap();
    config.backpressure.get_or_insert_default().max_inflight = 3;
    config.timeout.total = None;
    config.rate_limiter.get_or_insert_default().key_by = Some(crate::KeyBy::new(|_| 1));
    let explanation = config.explain(&file, env);
    assert_eq!(
        origins(&explanation),
        [
            ("timeout.total", "none", Origin::Program),
            ("retry.max_retries", "2", Origin::Preset),
            ("retry.jitter", "{ ratio = 0.1 }", Origin::Preset),
            ("retry.initial_delay", "\"1s\"", Origin::File),
            ("retry.max_delay", "\"1m\"", Origin::Preset),
            ("backpressure.max_inflight", "3", Origin::Program),
            ("backpressure.max_queued", "7", Origin::File),
            ("rate_limiter.requests_per_second", "2.5", Origin::Environment),
            ("rate_limiter.key_by", "\"a closure\"", Origin::Program),
            ("circuit_breaker.failure_threshold", "5", Origin::Environment),
            ("circuit_breaker.success_threshold", "3", Origin::Preset),
            ("circuit_breaker.cooldown_seconds", "\"15s\"", Origin::Environment),
            ("circuit_breaker.half_open_max", "3", Origin::Preset),
            ("circuit_breaker.slow_call_threshold", "\"5s\"", Origin::Preset),
            ("circuit_breaker.slow_call_window_size", "10", Origin::Preset),
            ("circuit_breaker.minimum_throughput", "10", Origin::Preset),
            ("timeout.attempt", "\"1m\"", Origin::Preset),
        ]
    );
}

#[test]
fn every_setting_of_the_stack_is_explained_once_in_protocol_order() {
    let explanation = crate::config::explanation::all_parts().explain(&PolicyFile::default(), |_| None);
    let names: Vec<_> = explanation.layers.iter().map(|layer| layer.name).collect();
    let order =
        ["call", "fallback", "hedge", "retry", "backpressure", "rate_limiter", "circuit_breaker", "wire"];
    assert_eq!(names, order);
    assert!(explanation.layers.iter().all(|layer| layer.is_on));
    let mut keys: Vec<_> =
        explanation.layers.iter().flat_map(|layer| &layer.settings).map(|setting| &*setting.key).collect();
    let count = field_names::<crate::fallback::Settings>().len()
        + field_names::<crate::retry::Settings>().len()
        + field_names::<crate::backpressure::Settings>().len()
        + field_names::<crate::rate_limit::Settings>().len()
        + field_names::<crate::circuit_breaker::Settings>().len()
        + field_names::<crate::hedge::Settings>().len()
        + field_names::<crate::timeout::Settings>().len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);

    let off = file("circuit_breaker = { enabled = false }");
    let explanation = ResilienceConfig::try_from(off.clone()).unwrap().explain(&off, |_| None);
    let on: Vec<_> = explanation.layers.iter().filter(|layer| layer.is_on).map(|layer| layer.name).collect();
    assert_eq!(on, ["call", "fallback", "wire"]);
    assert!(explanation.to_string().contains("\nretry: off\n"), "{explanation}");
    assert!(
        serde_json::to_string(&explanation)
            .unwrap()
            .contains(r#"{"key":"circuit_breaker.enabled","value":"false","origin":"file"}"#)
    );
}

/// The table of variables is that of the code that reads them.
#[test]
fn the_origin_of_a_setting_that_a_variable_sets_is_the_environment() {
    for (variable, key) in crate::config::env::VARIABLES {
        let env = |name: &str| (name == variable).then(|| "77".into());
        let config = ResilienceConfig::default().overlay(env).unwrap();
        assert_ne!(config, ResilienceConfig::default(), "{variable}");
        let explanation = config.explain(&PolicyFile::default(), env);
        let keys: Vec<_> = origins(&explanation).into_iter().map(|(key, _, origin)| (key, origin)).collect();
        assert_eq!(keys, [(key, Origin::Environment)]);
    }
}

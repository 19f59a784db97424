//! Durations at every place of a file.

use tidegate::config::DurationText;
use toml::{Table, Value};

use super::never_printed::{FILE, PLACES, Step, at, env};
use super::*;

/// Each place of a duration, and the duration.
fn durations() -> impl Iterator<Item = (&'static [Step], Duration)> {
    PLACES.iter().filter_map(|place| {
        let value = at(&mut Value::Table(FILE.clone()), place)?.clone();
        Some((&**place, DurationText::parse(value.as_str()?)?))
    })
}

fn parse_with(place: &[Step], value: Value) -> Result<Config, GatewayConfigError> {
    let mut root = Value::Table(FILE.clone());
    *at(&mut root, place).unwrap() = value;
    let table: Table = root.try_into().unwrap();
    Config::parse(&toml::to_string(&table).unwrap(), env)
}

#[test]
fn every_duration_may_be_a_number_of_seconds() {
    let full = format!("{:?}", Config::parse(&toml::to_string(&*FILE).unwrap(), env).unwrap());
    for (place, duration) in durations() {
        let config = parse_with(place, duration.as_secs_f64().into());
        assert_eq!(format!("{:?}", config.unwrap()), full, "{place:?}");
    }
    assert!(durations().count() >= 35, "{}", durations().count());
}

/// Regression: the sum of several was a panic, and `1 0s` was ten seconds.
#[test]
fn a_duration_that_is_too_long_or_ambiguous_is_a_mistake_at_its_key() {
    for (place, _) in durations() {
        for text in ["18446744073709551615s 1000ms", "1 0s", "none of the times"] {
            let error = parse_with(place, text.into()).unwrap_err();
            let Some(Step::Key(key)) = place.last() else { panic!("{place:?}") };
            let is_named = |it: &str| it.ends_with(key);
            assert!(error.mistakes().any(|mistake| is_named(mistake.key())), "{place:?}: {error}");
        }
    }
}

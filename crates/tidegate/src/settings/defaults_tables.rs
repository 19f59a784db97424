//! Compares the table under "Defaults" on the page of each layer with the default settings.

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::field_names;
use crate::{backpressure, circuit_breaker, fallback, hedge, rate_limit, retry, timeout};

/// The default of each setting; `None` if the setting is absent.
fn defaults<T: Serialize + DeserializeOwned + Default>() -> Vec<(String, Option<Value>)> {
    let mut defaults = Table::try_from(T::default()).unwrap();
    field_names::<T>().iter().map(|name| ((*name).to_owned(), defaults.remove(*name))).collect()
}

/// The rows of the table: `` //! | `name` | `default` | meaning | ``.
fn table(page: &str) -> Vec<(String, Option<Value>)> {
    let (_, section) = page.split_once("//! # Defaults\n").expect("a section on defaults");
    let section = section.split("//! # ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
        .map(|row| {
            let (name, rest) = row.split_once("` | `").expect(row);
            let (default, _) = rest.split_once("` |").expect(row);
            let default = match default {
                "none" => None,
                default => {
                    toml::from_str::<Table>(&format!("default = {default}")).expect(row).remove("default")
                }
            };
            (name.to_owned(), default)
        })
        .collect()
}

#[test]
fn the_defaults_on_the_module_pages_are_those_of_the_code() {
    assert_eq!(table(include_str!("../retry/mod.rs")), defaults::<retry::Settings>());
    assert_eq!(table(include_str!("../rate_limit/mod.rs")), defaults::<rate_limit::Settings>());
    assert_eq!(table(include_str!("../circuit_breaker/mod.rs")), defaults::<circuit_breaker::Settings>());
    assert_eq!(table(include_str!("../backpressure/mod.rs")), defaults::<backpressure::Settings>());
    assert_eq!(table(include_str!("../fallback/mod.rs")), defaults::<fallback::Settings>());
    assert_eq!(table(include_str!("../hedge/mod.rs")), defaults::<hedge::Settings>());
    assert_eq!(table(include_str!("../timeout/mod.rs")), defaults::<timeout::Settings>());
}

//! The schema and the example have every setting, with its default.

use super::*;

#[test]
fn the_example_file_is_valid() {
    let config = Config::parse(include_str!("../../../example.toml"), |name| {
        (!name.starts_with("OTEL_")).then(|| "7".into())
    })
    .unwrap();
    assert_eq!((config.routes.len(), config.providers.len()), (4, 4));
}

#[test]
fn the_committed_schema_is_that_of_the_code() {
    let is_current = Config::schema() == include_str!("../../../../../docs/config.schema.json");
    assert!(is_current, "run: cargo run -p tidegate-gateway -- --schema > docs/config.schema.json");
}

/// The keys of all tables in the schema by the key of the table, without other names of settings.
pub(super) fn schema_keys() -> Vec<(String, String, serde_json::Value)> {
    fn walk(
        root: &serde_json::Value,
        schema: &serde_json::Value,
        table: &str,
        keys: &mut Vec<(String, String, serde_json::Value)>,
    ) {
        let reference = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?));
        let unnamed = ["items", "additionalProperties"].into_iter().map(|key| &schema[key]);
        let choices = schema["anyOf"].as_array().into_iter().flatten();
        for inner in reference.into_iter().chain(unnamed).chain(choices).filter(|inner| inner.is_object()) {
            walk(root, inner, table, keys);
        }
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_other_name =
                property["description"].as_str().is_some_and(|text| text.starts_with("Another name of"));
            if !is_other_name {
                keys.push((table.to_owned(), key.clone(), property["default"].clone()));
                walk(root, property, key, keys);
            }
        }
    }
    let root: serde_json::Value = serde_json::from_str(&Config::schema()).unwrap();
    let mut keys = Vec::new();
    walk(&root, &root, "", &mut keys);
    keys
}

#[test]
fn the_example_has_every_key_of_the_schema() {
    let keys = schema_keys();
    assert!(keys.len() > 110, "{}", keys.len());
    let is_key = |line: &str, key: &str| {
        let line = line.trim_start_matches(['#', ' ']);
        let mut header =
            line.trim_start_matches('[').split(']').next().into_iter().flat_map(|name| name.split('.'));
        let mut assigned = line.split(['{', ',']).filter_map(|pair| pair.split_once('='));
        (line.starts_with('[') && header.any(|part| part == key))
            || assigned.any(|(name, _)| name.trim() == key)
    };
    for (table, key, _) in keys {
        assert!(Config::EXAMPLE.lines().any(|line| is_key(line, &key)), "{table}.{key}");
    }
}

/// The settings of a policy in the example, which are comments: `# max_retries = 3   # meaning`.
#[test]
fn the_settings_of_a_policy_in_the_example_have_their_defaults() {
    let mut commented = BTreeMap::new();
    let mut part = None;
    for line in Config::EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ")) {
        match line.strip_prefix("[policies.NAME") {
            Some(name) => part = Some(name.trim_matches(['.', ']'])),
            None => {
                let Some((part, (key, rest))) = part.zip(line.split_once(" = ")) else { continue };
                let value = rest.split_once("  #").map_or(rest, |(value, _)| value).trim();
                let value = match value {
                    "none" => serde_json::Value::Null,
                    value => {
                        let table: toml::Table = toml::from_str(&format!("value = {value}")).expect(line);
                        serde_json::to_value(&table["value"]).unwrap()
                    }
                };
                commented.insert((part.to_owned(), key.to_owned()), value);
            }
        }
    }
    let parts = ["retry", "rate_limiter", "circuit_breaker", "backpressure", "timeout", "fallback", "hedge"];
    let settings = schema_keys().into_iter().filter(|(table, ..)| parts.contains(&&**table));
    let defaults: Vec<_> = settings.map(|(part, key, default)| ((part, key), default)).collect();
    assert!(defaults.len() > 75);
    for (setting, default) in defaults {
        assert_eq!(commented.get(&setting), Some(&default), "{setting:?}");
    }
}

#[test]
fn the_settings_of_the_gateway_in_the_example_are_its_defaults() {
    let example = Config::parse(Config::EXAMPLE, |variable| variable.ends_with("KEY").then(|| "7".into()));
    let (example, default) = (example.unwrap(), Config::parse(&format!("{PROVIDERS}{ROUTE}"), env).unwrap());
    assert_eq!((example.listen, example.body_limit), (default.listen, default.body_limit));
    assert_eq!((example.drain, &example.emergency_text), (default.drain, &default.emergency_text));
    assert_eq!(format!("{:?}", example.static_texts), format!("{:?}", default.static_texts));
    assert_eq!(example.stop_client_retries, default.stop_client_retries);
    assert_eq!(example.allow_background, default.allow_background);
    assert_eq!(format!("{:?}", example.connections), format!("{:?}", default.connections));
}

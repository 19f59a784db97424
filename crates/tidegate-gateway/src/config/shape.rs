//! Tables in the place of arrays of tables, and the reverse: `[callers]` for `[[callers]]`, `[[admin]]` for
//! `[admin]`.

use tidegate::config::redacted_key;
use toml::{Table, Value};

use super::GatewayConfigError;

/// The arrays of tables of a file.
const ARRAYS: [&str; 2] = ["callers", "routes"];

/// The array of tables of a `rate_limiter`.
const ARRAY_OF_QUOTAS: &str = "quotas";

/// The key of the chain of a route. Its groups may be tables in arrays.
const CHAIN: &str = "chain";

/// The tables of a file.
const TABLES: [&str; 7] = ["admin", "alerts", "cache", "connections", "otlp", "store", "tls"];

/// The tables of which each has a name.
const NAMED_TABLES: [&str; 3] = ["models", "policies", "providers"];

/// Gives each value in `table` the form that its key needs, so that the rest of it can be checked, and
/// returns the mistakes.
pub(super) fn mend(table: &mut Table) -> Vec<GatewayConfigError> {
    let mut mistakes = Vec::new();
    for (key, value) in table.iter_mut() {
        match &**key {
            key if ARRAYS.contains(&key) => {
                wrap(key, value, &mut mistakes);
                mend_quotas(key, value, &mut mistakes);
            }
            key if TABLES.contains(&key) => mend_tables(key, value, &mut mistakes),
            key if NAMED_TABLES.contains(&key) => {
                if is_array_of_tables(value) {
                    let expected = format!(
                        "expected a name in the header of each table: write [{key}.NAME] in place of [[{key}]]"
                    );
                    mistakes.push(GatewayConfigError::new(key, expected));
                    *value = Value::Table(Table::new());
                }
                for (name, value) in value.as_table_mut().into_iter().flatten() {
                    mend_tables(&format!("{key}.{name}"), value, &mut mistakes);
                }
            }
            _ => {}
        }
    }
    mistakes
}

/// Unwraps a table that is written as an array of tables, and those in it.
fn mend_tables(path: &str, value: &mut Value, mistakes: &mut Vec<GatewayConfigError>) {
    if is_array_of_tables(value) {
        let name = redacted_key(path);
        let problem =
            format!("expected one table, found an array of tables: write [{name}] in place of [[{name}]]");
        mistakes.push(GatewayConfigError::new(path, problem));
        let first = value.as_array_mut().and_then(|array| array.drain(..).next());
        *value = first.unwrap_or_else(|| Value::Table(Table::new()));
    }
    for (key, value) in value.as_table_mut().into_iter().flatten() {
        let path = format!("{path}.{key}");
        match &**key {
            ARRAY_OF_QUOTAS => wrap(&path, value, mistakes),
            // In a table by mistake, which is another one.
            key if ARRAYS.contains(&key) => {}
            _ => mend_tables(&path, value, mistakes),
        }
    }
}

/// The limits of callers.
fn mend_quotas(array: &str, value: &mut Value, mistakes: &mut Vec<GatewayConfigError>) {
    for (index, element) in value.as_array_mut().into_iter().flatten().enumerate() {
        let values = element.as_table_mut().into_iter().flatten();
        for (key, value) in values.filter(|(key, _)| *key != CHAIN) {
            mend_tables(&format!("{array}[{index}].{key}"), value, mistakes);
        }
    }
}

/// Wraps a table that is to be an array of tables.
fn wrap(path: &str, value: &mut Value, mistakes: &mut Vec<GatewayConfigError>) {
    if let Value::Table(table) = value {
        let name = redacted_key(path);
        let problem =
            format!("expected an array of tables, found one table: write [[{name}]] in place of [{name}]");
        mistakes.push(GatewayConfigError::new(path, problem));
        *value = Value::Array(vec![Value::Table(std::mem::take(table))]);
    }
}

fn is_array_of_tables(value: &Value) -> bool {
    value.as_array().is_some_and(|array| !array.is_empty() && array.iter().all(Value::is_table))
}

//! Reads a table to its end: what cannot be read is taken out, and the rest is read.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

use super::ConfigError;
use super::file_value::FileValue;
use crate::settings::Checks;

/// The bound of the work: each mistake costs another pass, or three.
const MAX_PASSES: usize = 300;

/// What could be read of a table, by [`recover`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered<T> {
    /// The value without what could not be read. `None` if there is none even so.
    pub value: Option<T>,
    /// What could not be read.
    pub checks: Checks,
    /// Where it was.
    pub removed: Removed,
}

/// The keys that could not be read. They are absent from the value, or have a stand-in if they are required.
#[derive(Clone, Debug, Default)]
pub struct Removed(Vec<String>);

/// Reads a `T`, and reports all that cannot be read at once. `to_error` makes an error of a key and a message
/// of serde.
pub fn recover<T: DeserializeOwned>(
    table: Table,
    to_error: impl Fn(&str, &str) -> ConfigError,
) -> Recovered<T> {
    let (mut checks, mut removed) = (Checks::default(), Removed::default());
    let mut root = Value::Table(table);
    let mut last_stand_in = Vec::new();
    for _ in 0..MAX_PASSES {
        let error = match serde_path_to_error::deserialize(FileValue(root.clone())) {
            Ok(value) => return Recovered { value: Some(value), checks, removed },
            Err(error) => error,
        };
        let (mut path, message) = (steps(&root, error.path()), error.inner().message());
        if path == last_stand_in && !path.is_empty() {
            // It is of another type.
            if replace(&mut root, &path, message) {
                continue;
            }
            path.pop();
            last_stand_in.clear();
        } else {
            let key = removed.original_key(&path_text(error.path()));
            let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
            let is_consequence = match missing {
                Some(field) => removed.has(&joined(&key, field)),
                None => removed.has_part_of(&key),
            };
            if !is_consequence {
                checks.fail(to_error(&key, message));
            }
            if let Some(field) = missing.filter(|field| insert(&mut root, &path, field)) {
                path.push(PathStep::Key(field.to_owned()));
                removed.add(&path);
                last_stand_in = path;
                continue;
            }
        }
        removed.add(&path);
        if !remove(&mut root, &path) {
            break;
        }
    }
    Recovered { value: None, checks, removed }
}

impl Removed {
    /// The key in the file for a `key` of the value: with the elements of arrays that were removed.
    #[must_use]
    pub fn original_key(&self, key: &str) -> String {
        let (mut original, mut rest) = (String::new(), key);
        while let Some((before, after)) = rest.split_once('[') {
            original += before;
            let element = after.split_once(']').and_then(|(index, rest)| Some((index.parse().ok()?, rest)));
            rest = match element {
                Some((index, rest)) => {
                    original += &format!("[{}]", self.original_index(&original, index));
                    rest
                }
                None => {
                    original.push('[');
                    after
                }
            };
        }
        original + rest
    }

    /// Whether `key`, or a table around it, could not be read.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        let is_in = |table: &String| {
            key.strip_prefix(&**table).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.0.iter().any(is_in)
    }

    /// Whether something in the table or array `key` could not be read.
    fn has_part_of(&self, key: &str) -> bool {
        let is_part =
            |removed: &String| removed.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', '[']));
        self.0.iter().any(is_part)
    }

    /// `error` without the mistakes in values that are stand-ins, and with the keys of the file.
    ///
    /// # Errors
    ///
    /// There are others.
    pub fn mistakes_of_file(&self, error: ConfigError) -> Result<(), ConfigError> {
        let error = error.map_keys(|key| self.original_key(key));
        error.retain(|mistake| !self.has(mistake.key()))
    }

    /// The keys, as in [`ConfigError::key`].
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn add(&mut self, path: &[PathStep]) {
        let key = path.iter().fold(String::new(), |key, step| match step {
            PathStep::Key(name) => joined(&key, name),
            PathStep::Index(index) => format!("{key}[{index}]"),
        });
        self.0.push(self.original_key(&key));
    }

    fn original_index(&self, array: &str, index: usize) -> usize {
        let element =
            |key: &String| key.strip_prefix(array)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
        let mut removed: Vec<usize> = self.0.iter().filter_map(element).collect();
        removed.sort_unstable();
        removed.into_iter().fold(index, |index, removed| index + usize::from(removed <= index))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathStep {
    Key(String),
    Index(usize),
}

/// The part of the path of an error that exists in `root`.
fn steps(mut value: &Value, path: &Path) -> Vec<PathStep> {
    let mut steps = Vec::new();
    for segment in path {
        let (step, next) = match segment {
            Segment::Seq { index } => (PathStep::Index(*index), value.get(*index)),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                (PathStep::Key(key.clone()), value.get(key.as_str()))
            }
            Segment::Unknown => break,
        };
        let Some(next) = next else { break };
        steps.push(step);
        value = next;
    }
    steps
}

/// The path as the key of an error. `serde_path_to_error` shows the empty path as a full stop.
fn path_text(path: &Path) -> String {
    path.to_string().trim_end_matches('.').to_owned()
}

fn joined(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

fn value_at<'a>(root: &'a mut Value, path: &[PathStep]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, step| match step {
        PathStep::Key(key) => value.get_mut(key.as_str()),
        PathStep::Index(index) => value.get_mut(*index),
    })
}

/// Replaces the stand-in at `path` by one of the type that `message` expects; `false` if none is at hand.
fn replace(root: &mut Value, path: &[PathStep], message: &str) -> bool {
    let Some(value) = value_at(root, path).filter(|value| value.as_str() == Some("")) else { return false };
    // unknown variant ``, expected one of `a`, `b`
    *value = match message.strip_prefix("unknown variant ").and_then(|rest| rest.split('`').nth(3)) {
        Some(variant) => Value::String(variant.to_owned()),
        None if message.ends_with("expected a sequence") => Value::Array(Vec::new()),
        None if message.contains("expected a duration") => Value::String("1s".to_owned()),
        None => Value::Integer(1),
    };
    true
}

/// Puts a text in place of the missing `key` of the table at `path`; `false` if there is no such table.
fn insert(root: &mut Value, path: &[PathStep], key: &str) -> bool {
    let table = value_at(root, path).and_then(Value::as_table_mut);
    table.is_some_and(|table| table.insert(key.to_owned(), Value::String(String::new())).is_none())
}

/// Removes the value at `path`; `false` if that is the root.
fn remove(root: &mut Value, path: &[PathStep]) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    match (value_at(root, parents), last) {
        (Some(Value::Table(table)), PathStep::Key(key)) => table.remove(key).is_some(),
        (Some(Value::Array(array)), PathStep::Index(index)) if *index < array.len() => {
            array.remove(*index);
            true
        }
        _ => false,
    }
}

//! Files of scenarios.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::scenario::Scenario;

/// The largest file.
const MAX_SIZE: u64 = 1024 * 1024;

/// Reads all files.
///
/// # Errors
///
/// The mistakes of all files, each with the path of its file.
pub(crate) fn read_all(files: &[PathBuf]) -> Result<Vec<Scenario>, String> {
    let (mut scenarios, mut errors, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for file in files {
        match read(file) {
            Ok(scenario) => {
                let name = unused(&scenario.name, &names);
                names.insert(name.clone());
                scenarios.push(Scenario { name, ..scenario });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(scenarios) } else { Err(errors.join("\n")) }
}

/// The name, with a number if another file has it: results and images of two scenarios are never the same.
fn unused(name: &str, used: &HashSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !used.contains(name)).expect("numbers do not end")
}

fn read(file: &Path) -> Result<Scenario, String> {
    let of_file = |error: &dyn ToString| {
        let lines = error.to_string();
        let lines = lines.lines().map(|line| printable(&format!("{}: {line}", file.display())));
        lines.collect::<Vec<_>>().join("\n")
    };
    let text = text_of(file).map_err(|error| of_file(&error))?;
    let name = file.file_stem().map_or_else(String::new, |name| printable(&name.to_string_lossy()));
    Scenario::parse(&name, &text).map_err(|error| of_file(&error))
}

/// A text without control characters: a file may have any name.
fn printable(text: &str) -> String {
    let escaped = text
        .chars()
        .map(|part| if part.is_control() { part.escape_default().to_string() } else { part.to_string() });
    escaped.collect()
}

fn text_of(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(io::Error::other("expected a file of at most 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_used_gets_a_number() {
        let used = ["a", "a-2", "b"].map(str::to_owned).into();
        assert_eq!(["a", "b", "c"].map(|name| unused(name, &used)), ["a-3", "b-2", "c"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\n\u{1b}[2J\u{e9}|b"), "a\\n\\u{1b}[2J\u{e9}|b");
        let error = read(Path::new("/none/a\rb.toml")).unwrap_err();
        assert!(error.starts_with("/none/a\\rb.toml: "), "{error}");
    }
}

//! A secret in any wrong place of a configuration is in no message about it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use toml::{Table, Value};

use super::example::schema_keys;
use super::*;

/// A step to a value: the key of a table, or the index of an array.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// How a secret comes into a place of a file.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    /// In place of the value.
    Value,
    /// As a number, in place of the value.
    Number,
    /// Behind the value, such as the password of a URL or the name of a header.
    Suffix,
    /// As the only element of an array, and the only key of a table.
    Array,
    Table,
    /// As the name of the key.
    Key,
    /// As another key beside it.
    NewKey,
}

const MISTAKES: [Mistake; 7] = [
    Mistake::Value,
    Mistake::Number,
    Mistake::Suffix,
    Mistake::Array,
    Mistake::Table,
    Mistake::Key,
    Mistake::NewKey,
];

/// A valid file with every key.
pub(super) static FILE: LazyLock<Table> = LazyLock::new(|| {
    let directory: PathBuf =
        std::env::temp_dir().join(format!("tidegate-never-printed-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["gateway".to_owned()]).unwrap();
    for (name, text) in [
        ("cert.pem", pem("CERTIFICATE", cert.der())),
        ("key.pem", pem("PRIVATE KEY", &signing_key.serialize_der())),
        ("ann", "the-long-key-of-ann".to_owned()),
        ("header", "value-of-header".to_owned()),
        ("anthropic", "the-long-key-of-anthropic".to_owned()),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
    let text = include_str!("../snapshots/full.toml").replace("DIRECTORY", directory.to_str().unwrap());
    toml::from_str(&text).unwrap()
});

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// All values of the file.
pub(super) static PLACES: LazyLock<Vec<Vec<Step>>> = LazyLock::new(|| {
    fn walk(value: &Value, path: &mut Vec<Step>, places: &mut Vec<Vec<Step>>) {
        let steps: Vec<_> = match value {
            Value::Table(table) => table.iter().map(|(key, it)| (Step::Key(key.clone()), it)).collect(),
            Value::Array(array) => array.iter().enumerate().map(|(at, it)| (Step::Index(at), it)).collect(),
            _ => Vec::new(),
        };
        for (step, value) in steps {
            path.push(step);
            places.push(path.clone());
            walk(value, path, places);
            path.pop();
        }
    }
    let mut places = Vec::new();
    walk(&Value::Table(FILE.clone()), &mut Vec::new(), &mut places);
    places
});

pub(super) fn env(variable: &str) -> Option<OsString> {
    let value = match variable {
        "REDIS_URL" => "redis://redis.test".to_owned(),
        name if name.ends_with("_KEY") || name.contains("_KEY_") || name.ends_with("_TOKEN") => {
            format!("the-value-of-{name}")
        }
        _ => return None,
    };
    Some(value.into())
}

/// The value at `place`.
pub(super) fn at<'v>(root: &'v mut Value, place: &[Step]) -> Option<&'v mut Value> {
    place.iter().try_fold(root, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// The file with a secret at `place`; `None` if the mistake cannot be made there.
fn with_secret(place: &[Step], mistake: Mistake, secret: &str) -> Option<Table> {
    let mut root = Value::Table(FILE.clone());
    let (last, parents) = place.split_last().unwrap();
    let parent = at(&mut root, parents)?;
    let text = Value::String(secret.to_owned());
    let table = || Table::from_iter([(secret.to_owned(), Value::Boolean(true))]);
    match (mistake, parent, last) {
        (Mistake::Key, Value::Table(table), Step::Key(key)) => {
            let value = table.remove(key)?;
            table.insert(secret.to_owned(), value);
        }
        (Mistake::NewKey, Value::Table(table), Step::Key(_)) => {
            table.insert(secret.to_owned(), Value::Boolean(true));
        }
        (Mistake::Key | Mistake::NewKey, ..) => return None,
        (mistake, parent, last) => {
            let value = at(parent, std::slice::from_ref(last))?;
            *value = match mistake {
                Mistake::Number => Value::Integer(digits(secret).parse().ok()?),
                Mistake::Suffix => Value::String(format!("{}{secret}", value.as_str()?)),
                Mistake::Array => Value::Array(vec![text]),
                Mistake::Table => Value::Table(table()),
                _ => text,
            };
        }
    }
    let Value::Table(table) = root else { return None };
    Some(table)
}

/// A number of the same entropy.
fn digits(secret: &str) -> String {
    let digits = secret.bytes().map(|byte| char::from(b'1' + byte % 9));
    digits.take(12).collect()
}

/// All that can be printed of the result of a check.
fn printed(result: &Result<Config, GatewayConfigError>) -> String {
    let mut text = String::new();
    match result {
        Ok(config) => config.warnings().iter().for_each(|warning| writeln!(text, "{warning}").unwrap()),
        Err(error) => {
            writeln!(text, "{error}\n{error:?}\n{error:#?}").unwrap();
            for mistake in error.mistakes() {
                writeln!(text, "{mistake}\n{mistake:?}\n{}", mistake.problem()).unwrap();
            }
        }
    }
    text
}

/// Checks that nothing of `secret` is printed, and that each mistake still has its place and what is wrong.
fn assert_secret_is_kept(file: &Table, secret: &str, what: &dyn std::fmt::Debug) {
    let text = toml::to_string(file).unwrap();
    let result = Config::parse(&text, env);
    let printed = printed(&result).to_lowercase();
    for part in [secret, &digits(secret)].into_iter().chain(secret.split(['@', '=', ':', '/', ' '])) {
        let is_secret = part.len() > 7 && part != "https" && part != "hooks.example";
        assert!(!is_secret || !printed.contains(&part.to_lowercase()), "{what:?} {secret}: {printed}");
    }
    for mistake in result.err().iter().flat_map(GatewayConfigError::mistakes) {
        assert!(mistake.line().is_some() || !mistake.key().is_empty(), "{what:?}: {mistake}");
        assert!(!mistake.problem().is_empty() && !mistake.problem().ends_with("expected "), "{mistake}");
    }
}

#[test]
fn the_full_file_is_valid_and_has_every_key() {
    let config = Config::parse(&toml::to_string(&*FILE).unwrap(), env).unwrap();
    assert_eq!(config.warnings(), &[] as &[String]);
    let keys: Vec<_> = PLACES
        .iter()
        .filter_map(|place| match place.last() {
            Some(Step::Key(key)) => Some(key.as_str()),
            _ => None,
        })
        .collect();
    for (table, key, _) in schema_keys() {
        // The others of a kind, of which there can be one.
        let is_other = ["url", "endpoint", "otlp"].contains(&&*key);
        assert!(is_other || keys.contains(&&*key), "{table}.{key}");
    }
    assert!(PLACES.len() > 200, "{}", PLACES.len());
}

#[test]
fn a_secret_at_any_place_of_a_file_is_in_no_message() {
    let mut secrets =
        ["sk-proj-Zx81Kq07Lw93Jt55", "redis://user:Zx81Kq07Lw93@host:6379/0"].into_iter().cycle();
    let mistakes = [Mistake::Value, Mistake::Table, Mistake::Key];
    for (place, mistake) in PLACES.iter().flat_map(|place| mistakes.map(|mistake| (place, mistake))) {
        let secret = secrets.next().unwrap();
        if let Some(file) = with_secret(place, mistake, secret) {
            assert_secret_is_kept(&file, secret, &(place, mistake));
        }
    }
}

/// Keys, passwords, tokens and URLs with them.
fn secrets() -> impl Strategy<Value = String> {
    prop_oneof![
        "sk-[A-Za-z0-9]{16,48}",
        "sk-ant-api[0-9]{2}-[A-Za-z0-9_]{24,48}",
        "AKIA[A-Z0-9]{16}",
        "[a-f0-9]{32}",
        "[A-Z][a-z]{3,5}[0-9]{3,6}[!$^~][a-z0-9`'\"\\\\]{2,8}",
        "[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[a-f0-9]{4}-[a-f0-9]{12}",
        "[a-z]{16,24}",
        "[0-9]{20,38}",
        "[A-Za-z0-9+/]{30,40}==",
        "redis://[a-z]{3,6}:[A-Za-z0-9]{10,16}@host:6379",
        "https://api\\.test/v1\\?key=[A-Za-z0-9]{16,20}",
        "Bearer [A-Za-z0-9]{20}\n",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_secret_is_in_a_message(
        secret in secrets(),
        place in any::<prop::sample::Index>(),
        mistake in prop::sample::select(&MISTAKES[..]),
    ) {
        let place = place.get(&PLACES);
        if let Some(file) = with_secret(place, mistake, &secret) {
            assert_secret_is_kept(&file, &secret, &(place, mistake));
        }
    }

    /// Text that is not TOML, such as a secret without quotes.
    #[test]
    fn no_secret_is_in_a_message_about_syntax(secret in secrets(), line in any::<prop::sample::Index>(), how in 0..5) {
        let mut lines: Vec<String> = include_str!("../snapshots/full.toml").lines().map(str::to_owned).collect();
        let line = line.get(&(0..lines.len()).collect::<Vec<_>>()).to_owned();
        let (key, value) = lines[line].split_once('=').unwrap_or((&lines[line], ""));
        lines[line] = match how {
            0 => format!("{key}= {secret}"),
            1 => format!("{key}= \"{secret}"),
            2 => format!("{secret} = {value}"),
            3 => format!("[{secret}]"),
            _ => secret.clone(),
        };
        let result = Config::parse(&lines.join("\n"), env);
        let printed = printed(&result);
        let secret = secret.trim().split(['"', '\\', '=', '@', '/', ' ']).max_by_key(|part| part.len()).unwrap();
        prop_assert!(secret.len() < 8 || !printed.contains(secret), "{}: {}", secret, printed);
    }

    /// A variable of the environment with the value of another one.
    #[test]
    fn no_secret_in_a_variable_is_in_a_message(secret in secrets(), variable in prop::sample::select(&[
        "AI_LIB_RPS",
        "AI_LIB_RPM",
        "AI_LIB_BREAKER_FAILURE_THRESHOLD",
        "AI_LIB_BREAKER_COOLDOWN_SECS",
        "AI_LIB_MAX_INFLIGHT",
        "AI_LIB_QUEUE_TIMEOUT",
        "AI_LIB_ATTEMPT_TIMEOUT_MS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OPENAI_KEY_A",
        "REDIS_URL",
        "CI_KEY",
        "ADMIN_KEY",
        "ALERTS_TOKEN",
        "TEAM_KEY",
    ][..])) {
        let text = toml::to_string(&*FILE).unwrap();
        let with = |name: &str| if name == variable { Some(secret.clone().into()) } else { env(name) };
        let result = Config::parse(&text, with);
        let printed = printed(&result);
        prop_assert!(!printed.contains(secret.trim()), "{}", printed);
        if let Err(error) = result {
            prop_assert!(error.mistakes().all(|it| it.key().contains(variable) || it.line().is_some()), "{}", error);
        }
    }
}

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use tidegate::chain::ProviderSettings;
use tidegate::config::{Checks, redacted, unknown};
use tidegate::providers::Provider;

use super::header::check_forwarded;
use super::lists::no_duplicates;
use super::schema::ProviderKind;
use super::{GatewayConfigError, ProviderKeys, text_file};
use crate::endpoint::ApiDialect;

/// The table of a provider in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Provider")]
#[serde(deny_unknown_fields, expecting = "a table with base_url and dialect")]
pub(super) struct ProviderEntry {
    /// The URL of the API, with its version. `{model}` in it is replaced by the model.
    base_url: String,
    /// The HTTP API of the provider.
    dialect: ApiDialect,
    /// The rules for its requests and responses, such as `"azure"`. By default those of its host, or else of
    /// its name.
    #[schemars(with = "Option<ProviderKind>")]
    kind: Option<String>,
    /// The variable of the environment with the API key. By default no key is sent.
    api_key_env: Option<String>,
    /// The variables of the environment with several API keys. Each key is a member of a group, with gates of
    /// its own.
    #[schemars(length(min = 1))]
    api_keys_env: Option<Vec<String>>,
    /// The file with the API key, in one line.
    api_key_file: Option<String>,
    /// The header that contains the key alone. By default that of the dialect.
    api_key_header: Option<String>,
    /// The query of every request, such as `"api-version=2024-10-21"`.
    query: Option<String>,
    /// Headers of every request that the caller's does not have.
    #[serde(default)]
    headers: BTreeMap<String, HeaderEntry>,
    /// Headers of callers that are forwarded, beside those that providers read.
    #[serde(default)]
    forward_headers: Vec<String>,
}

/// The value of a header in the file: a text, or the variable or the file that contains it.
#[derive(JsonSchema)]
#[schemars(rename = "Header", untagged)]
enum HeaderEntry {
    Text(String),
    Variable(Variable),
    File(KeyFile),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Variable {
    /// The variable of the environment with the value.
    env: String,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct KeyFile {
    /// The file with the value, in one line.
    file: String,
}

impl<'de> Deserialize<'de> for HeaderEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// The table of a header.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Source {
            env: Option<String>,
            file: Option<String>,
        }

        struct Header;

        impl<'de> Visitor<'de> for Header {
            type Value = HeaderEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a table such as { env = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderEntry, E> {
                Ok(HeaderEntry::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<HeaderEntry, A::Error> {
                match Source::deserialize(MapAccessDeserializer::new(table))? {
                    Source { env: Some(env), file: None } => Ok(HeaderEntry::Variable(Variable { env })),
                    Source { env: None, file: Some(file) } => Ok(HeaderEntry::File(KeyFile { file })),
                    _ => Err(de::Error::custom("expected either env or file")),
                }
            }
        }

        deserializer.deserialize_any(Header)
    }
}

/// The kinds that a file can name.
pub(super) const KINDS: [Provider; 15] = [
    Provider::OpenAi,
    Provider::Azure,
    Provider::Anthropic,
    Provider::Gemini,
    Provider::Vertex,
    Provider::Mistral,
    Provider::Groq,
    Provider::DeepSeek,
    Provider::Cohere,
    Provider::Together,
    Provider::OpenRouter,
    Provider::Bedrock,
    Provider::Cerebras,
    Provider::XAi,
    Provider::Other,
];

impl ProviderEntry {
    /// Whether it is connected to by https.
    pub(super) fn is_https(&self) -> bool {
        self.base_url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }

    /// The variables with its secrets, each with its key in this table.
    pub(super) fn secret_variables(&self) -> impl Iterator<Item = (String, &str)> {
        let of_headers = self.headers.iter().filter_map(|(name, header)| match header {
            HeaderEntry::Variable(Variable { env }) => Some((format!("headers.{name}"), &**env)),
            HeaderEntry::Text(_) | HeaderEntry::File(_) => None,
        });
        let several = self.api_keys_env.iter().flatten().enumerate();
        let several = several.map(|(index, it)| (format!("api_keys_env[{index}]"), &**it));
        let one = self.api_key_env.as_deref().map(|it| ("api_key_env".to_owned(), it));
        one.into_iter().chain(several).chain(of_headers)
    }

    /// The files with its keys.
    pub(super) fn key_files(&self) -> impl Iterator<Item = &str> {
        let of_headers = self.headers.values().filter_map(|header| match header {
            HeaderEntry::File(KeyFile { file }) => Some(&**file),
            HeaderEntry::Text(_) | HeaderEntry::Variable(_) => None,
        });
        self.api_key_file.as_deref().into_iter().chain(of_headers)
    }

    /// The settings of the provider called `name`, checked. Beside the headers that providers read, those
    /// named in the entry and `key_headers` are forwarded to it.
    pub(super) fn settings(
        self,
        name: &str,
        key_headers: &[HeaderName],
        keys: &mut ProviderKeys,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<ProviderSettings, GatewayConfigError> {
        let table = format!("providers.{name}");
        let mut checks = Checks::default();
        if !is_visible(name) || name.contains('/') || name.starts_with('@') {
            let problem = "expected a name of visible ASCII, without `/`, that does not begin with `@`";
            checks.fail(GatewayConfigError::new(&*table, problem));
        }
        let invalid = |key: &str, problem: String| GatewayConfigError::new(format!("{table}.{key}"), problem);
        let mut settings = ProviderSettings::new(self.base_url, self.dialect);
        if let Some(kind) = &self.kind {
            let kind = checks.keep(provider_kind(kind).map_err(|problem| invalid("kind", problem)));
            settings = kind.into_iter().fold(settings, ProviderSettings::kind);
        }
        if let Some(header) = &self.api_key_header {
            let name = checks.keep(header_name(header).map_err(|problem| invalid("api_key_header", problem)));
            settings = name.into_iter().fold(settings, ProviderSettings::key_header);
        }
        if let Some(query) = self.query {
            settings = settings.query(query);
        }
        let mut names = Vec::new();
        for (header, entry) in self.headers {
            let at = |problem| invalid(&format!("headers.{header}"), problem);
            let name = checks.keep(header_name(&header).map_err(at));
            if name.as_ref().is_some_and(|name| names.contains(name)) {
                checks.fail(at("is in the table already".to_owned()));
            }
            names.extend(name.clone());
            let value = checks.keep(entry.value(&env, keys).map_err(at));
            if let (Some(name), Some(value)) = (name, value) {
                settings = settings.header(name, value);
            }
        }
        checks.keep(no_duplicates(
            &format!("{table}.forward_headers"),
            &self.forward_headers,
            str::eq_ignore_ascii_case,
        ));
        let mut forwarded = key_headers.to_vec();
        for header in &self.forward_headers {
            let name = header_name(header)
                .and_then(|name| check_forwarded(&name).map(|()| name))
                .map_err(|problem| invalid("forward_headers", problem));
            forwarded.extend(checks.keep(name));
        }
        settings = settings.only_headers(forwarded);
        checks.keep(settings.check().map_err(|error| error.within(&table)));
        let found = match (&self.api_key_env, &self.api_keys_env, &self.api_key_file) {
            (None, None, None) => Vec::new(),
            (Some(variable), None, None) => {
                let key = secret(variable, &env).map_err(|problem| invalid("api_key_env", problem));
                checks.keep(key).into_iter().collect()
            }
            (None, Some(variables), None) => several_secrets(&table, variables, &env, &mut checks),
            (None, None, Some(path)) => {
                let key = secret_in_file(path).map_err(|problem| invalid("api_key_file", problem));
                checks.keep(key).into_iter().collect()
            }
            (first, several, _) => {
                let last = if several.is_some() && first.is_some() { "api_keys_env" } else { "api_key_file" };
                let expected = "expected only one of api_key_env, api_keys_env and api_key_file";
                checks.fail(invalid(last, expected.to_owned()));
                Vec::new()
            }
        };
        found.iter().for_each(|key| keys.add(key));
        settings = settings.api_keys(found);
        checks.finish(settings)
    }
}

impl HeaderEntry {
    fn value(
        self,
        env: impl Fn(&str) -> Option<OsString>,
        keys: &mut ProviderKeys,
    ) -> Result<HeaderValue, String> {
        let secret = match self {
            Self::Text(text) => {
                let value = HeaderValue::try_from(text);
                return value.map_err(|_| "expected a text without control characters".to_owned());
            }
            Self::Variable(Variable { env: variable }) => secret(&variable, env)?,
            Self::File(KeyFile { file }) => secret_in_file(&file)?,
        };
        keys.add(&secret);
        let mut value = HeaderValue::try_from(secret).map_err(|_| "expected visible ASCII".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn provider_kind(text: &str) -> Result<Provider, String> {
    let found = KINDS.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| unknown("kind", text, KINDS.map(Provider::name)))
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| "expected the name of a header".to_owned())
}

/// The secret in `variable`.
pub(super) fn secret(variable: &str, env: impl Fn(&str) -> Option<OsString>) -> Result<String, String> {
    // A value that does not look like the name of a variable may be the key itself.
    let is_named = is_variable(variable) && redacted(variable) == variable;
    let named = if is_named { variable } else { "the variable it names" };
    let key = env(variable).ok_or_else(|| format!("{named} is not set"))?;
    let key = key.to_str().unwrap_or("\u{fffd}");
    if key.is_empty() {
        return Err(format!("{named} is empty"));
    }
    if !is_visible(key) {
        return Err(format!("expected visible ASCII in {named}, found a space or another character"));
    }
    Ok(key.to_owned())
}

/// The secrets in `variables`, each of which is another one.
fn several_secrets(
    table: &str,
    variables: &[String],
    env: impl Fn(&str) -> Option<OsString>,
    checks: &mut Checks,
) -> Vec<String> {
    let at = |index| format!("{table}.api_keys_env[{index}]");
    if variables.is_empty() {
        let problem = "expected at least one variable";
        checks.fail(GatewayConfigError::new(format!("{table}.api_keys_env"), problem));
    }
    let mut found: Vec<String> = Vec::new();
    for (index, variable) in variables.iter().enumerate() {
        let key = secret(variable, &env).map_err(|problem| GatewayConfigError::new(at(index), problem));
        let Some(key) = checks.keep(key) else { continue };
        match found.contains(&key) {
            // The two would count as two quotas, and are one.
            true => checks.fail(GatewayConfigError::new(at(index), "has the same key as another variable")),
            false => found.push(key),
        }
    }
    found
}

/// Whether `text` looks like the name of a variable.
pub(super) fn is_variable(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The secret in a file, without the end of its line.
pub(super) fn secret_in_file(path: &str) -> Result<String, String> {
    let text = text_file::read_text(path).map_err(|problem| format!("{:?} {problem}", redacted(path)))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if is_visible(key) {
        Ok(key.to_owned())
    } else {
        Err(format!("expected one line of visible ASCII in {:?}", redacted(path)))
    }
}

/// Whether `text` is not empty and consists of visible ASCII, so that it is valid in a header.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

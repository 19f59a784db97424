use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::hash::Hash;
use std::iter;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Uri};
use tidegate_providers::Provider;

use super::provider_warnings::{has_version, is_public_plain_text};
use super::request_headers::{belongs_to_connection, can_be_sent, parameter_name};
use super::{ApiDialect, ApiKey, Endpoint};
use crate::config::http_uri;
use crate::debug::HeaderNames;
use crate::settings::ConfigError;

/// How one provider is called: its base URL, its dialect, its key and its headers.
///
/// ```
/// use tidegate::chain::{Providers, ProviderSettings};
///
/// let providers = Providers::new()
///     .with("box", ProviderSettings::openai("http://gpu-box:8000/v1"))
///     .with("work", ProviderSettings::azure("https://my-resource.openai.azure.com", "2024-10-21").api_key("..."));
/// # let _ = providers;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct ProviderSettings {
    base_url: String,
    /// The variable of the environment with another base URL, and the path that is added to its value.
    base_url_env: Option<(&'static str, &'static str)>,
    query: Option<String>,
    dialect: ApiDialect,
    kind: Option<Provider>,
    /// None, if the provider needs none.
    keys: Vec<ApiKeySource>,
    key_header: Option<HeaderName>,
    headers: HeaderMap,
    allowed_headers: Option<Vec<HeaderName>>,
}

/// Where the API key is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum ApiKeySource {
    Given(ApiKey),
    /// In a variable of the environment, which has not been read.
    Variable(String),
}

/// The part of a base URL in place of which the model is put.
const MODEL: &str = "{model}";

/// The version of Anthropic's API that the translation is made for.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

impl ProviderSettings {
    /// A provider with OpenAI's API at `base_url`, which ends in the version:
    /// `https://api.groq.com/openai/v1`. Without a key, none is sent.
    pub fn openai(base_url: impl Into<String>) -> Self {
        Self::new(base_url, ApiDialect::OpenAi)
    }

    /// A provider with Anthropic's API at `base_url`, which ends in the version:
    /// `https://api.anthropic.com/v1`.
    pub fn anthropic(base_url: impl Into<String>) -> Self {
        Self::new(base_url, ApiDialect::Anthropic)
    }

    /// The deployments of an Azure resource. The model of a target is the name of the deployment.
    pub fn azure(resource_url: impl Into<String>, api_version: &str) -> Self {
        let resource_url = resource_url.into();
        let base_url = format!("{}/openai/deployments/{MODEL}", resource_url.trim_end_matches('/'));
        Self::openai(base_url)
            .query(format!("api-version={api_version}"))
            .kind(Provider::Azure)
            .key_header(HeaderName::from_static("api-key"))
    }

    /// A provider with this API at `base_url`. In the URL, `{model}` is replaced by the model of the target.
    pub fn new(base_url: impl Into<String>, dialect: ApiDialect) -> Self {
        let base_url: String = base_url.into();
        let mut headers = HeaderMap::new();
        if dialect == ApiDialect::Anthropic {
            headers.insert("anthropic-version", ANTHROPIC_VERSION);
        }
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            base_url_env: None,
            query: None,
            dialect,
            kind: None,
            keys: Vec::new(),
            key_header: None,
            headers,
            allowed_headers: None,
        }
    }

    /// The rules by which requests are translated and responses are classified. By default those of the host
    /// of the base URL, or else those of the name of the provider.
    pub fn kind(self, kind: Provider) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// The API key.
    pub fn api_key(self, key: impl Into<ApiKey>) -> Self {
        self.api_keys([key])
    }

    /// Several API keys. A target of this provider is a [group](mod@crate::group) of a member for each, named
    /// by its number: `openai/gpt-4o#1`. Each has gates of its own, so that a key that is invalid, or whose
    /// quota is used up, is left out alone.
    pub fn api_keys<K: Into<ApiKey>>(self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys = keys.into_iter().map(|key| ApiKeySource::Given(key.into()));
        Self { keys: keys.collect(), ..self }
    }

    /// The variable of the environment that contains the API key. It is read by
    /// [`Providers::keys_from`](super::Providers::keys_from), or else when the chain is built.
    pub fn api_key_env(self, variable: impl Into<String>) -> Self {
        self.api_keys_env([variable])
    }

    /// The variables of the environment that contain the [API keys](Self::api_keys), read as
    /// [that](Self::api_key_env) of one.
    pub fn api_keys_env<V: Into<String>>(self, variables: impl IntoIterator<Item = V>) -> Self {
        let keys = variables.into_iter().map(|variable| ApiKeySource::Variable(variable.into()));
        Self { keys: keys.collect(), ..self }
    }

    /// The members of a target of this provider: one with its name, or one for each key with the name and the
    /// number of the key. Each has the settings with that key alone.
    #[must_use]
    pub fn by_key(&self, target: &str) -> Vec<(String, Self)> {
        let of_key = |(number, key): (usize, &ApiKeySource)| {
            (format!("{target}#{}", number + 1), Self { keys: vec![key.clone()], ..self.clone() })
        };
        match self.keys.len() {
            0 | 1 => vec![(target.to_owned(), self.clone())],
            _ => self.keys.iter().enumerate().map(of_key).collect(),
        }
    }

    /// Whether both have the same keys, in the same order.
    #[must_use]
    pub fn has_keys_of(&self, other: &Self) -> bool {
        self.keys == other.keys
    }

    /// The server and the account that requests reach, for [`Store::account`](crate::store::Store::account):
    /// the URL, the query, the keys and the headers.
    #[must_use]
    pub fn account(&self) -> impl Hash {
        let headers: BTreeMap<_, _> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        (&self.base_url, &self.query, &self.keys, &self.key_header, headers)
    }

    /// The variable of the environment that may contain another base URL, and the path that is added to it.
    pub(super) fn base_url_env(self, variable: &'static str, added_path: &'static str) -> Self {
        Self { base_url_env: Some((variable, added_path)), ..self }
    }

    /// The header that contains the key alone. By default `authorization` with `Bearer` in OpenAI's dialect,
    /// `x-api-key` in Anthropic's.
    pub fn key_header(self, name: HeaderName) -> Self {
        Self { key_header: Some(name), ..self }
    }

    /// A header that is sent with every request, unless the caller's request has it.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sends on no other headers of a request than those that [providers read](super::is_provider_header),
    /// and these. For requests of strangers. By default all are sent on, except those that name an account.
    pub fn only_headers(self, more: impl IntoIterator<Item = HeaderName>) -> Self {
        Self { allowed_headers: Some(more.into_iter().collect()), ..self }
    }

    /// The query of every request: `api-version=2024-10-21`. It comes before that of the caller, of which only
    /// `api-version` and `beta` are sent on.
    pub fn query(self, query: impl Into<String>) -> Self {
        Self { query: Some(query.into()), ..self }
    }

    /// The dialect of the API.
    #[must_use]
    pub const fn dialect(&self) -> ApiDialect {
        self.dialect
    }

    /// The rules for the provider called `name`.
    #[must_use]
    pub fn kind_of(&self, name: &str) -> Provider {
        let host = || self.base_uri()?.host().map(Provider::at_host);
        self.kind
            .or_else(|| host().filter(|&kind| kind != Provider::Other))
            .unwrap_or_else(|| Provider::named(name))
    }

    /// The same with its base URL and its key, where they are in variables that `env` has.
    pub(super) fn with_variables(
        mut self,
        env: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        if let Some(base_url) = self.base_url_in(env)? {
            self.base_url = base_url;
        }
        for source in &mut self.keys {
            if let ApiKeySource::Variable(variable) = source
                && let Some(value) = env(variable).filter(|value| !value.is_empty())
            {
                let key = ApiKey::from(value.to_str().unwrap_or("\u{fffd}"));
                if key.header("").is_none() {
                    let problem = "expected visible ASCII, found a space or another character";
                    return Err(ConfigError::new(variable.clone(), problem));
                }
                *source = ApiKeySource::Given(key);
            }
        }
        Ok(self)
    }

    /// The base URL that the environment has.
    fn base_url_in(&self, env: &impl Fn(&str) -> Option<OsString>) -> Result<Option<String>, ConfigError> {
        let Some((variable, added_path)) = self.base_url_env else { return Ok(None) };
        let Some(value) = env(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
        let url = value.to_str().unwrap_or("\u{fffd}").trim_end_matches('/');
        check_url(url).map_err(|problem| ConfigError::new(variable, problem))?;
        let added_path = if url.ends_with(added_path) { "" } else { added_path };
        Ok(Some(format!("{url}{added_path}")))
    }

    /// The host and port of the base URL that the environment has.
    pub(super) fn moved_by(&self, env: &impl Fn(&str) -> Option<OsString>) -> Option<Authority> {
        let base_url = self.base_url_in(env).ok()??;
        base_url.replace(MODEL, "m").parse::<Uri>().ok()?.into_parts().authority
    }

    /// Checks the URL, the query, the key, and the headers that are set and sent on.
    ///
    /// # Errors
    ///
    /// The setting that is invalid, and what is expected. Neither the URL nor the key is in the message,
    /// since the URL may contain a key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, problem: &str| Err(ConfigError::new(key, problem));
        let begins_or_ends_early = |query: &String| query.starts_with('?') || query.contains('#');
        let is_query = !self.query.as_ref().is_some_and(begins_or_ends_early);
        let url = match check_url(&self.base_url) {
            Ok(()) if !is_query || self.uri(Endpoint::ChatCompletions, "m", "", None).is_none() => {
                invalid("query", "expected fields such as api-version=2024-10-21")
            }
            checked => checked.or_else(|problem| invalid("base_url", &problem)),
        };
        let keys = self.keys.iter().enumerate().map(|(index, key)| {
            let named = |one: &str, several: &str| match self.keys.len() {
                1 => one.to_owned(),
                _ => format!("{several}[{index}]"),
            };
            let problem = match key {
                ApiKeySource::Given(key) if key.header("").is_none() => {
                    "expected visible ASCII, found nothing or another character"
                }
                ApiKeySource::Given(_) if self.keys[..index].contains(key) => "is in the list already",
                ApiKeySource::Variable(variable) => {
                    let problem = format!("{variable} is not set");
                    return invalid(&named("api_key_env", "api_keys_env"), &problem);
                }
                ApiKeySource::Given(_) => return Ok(()),
            };
            invalid(&named("api_key", "api_keys"), problem)
        });
        let of_key =
            self.key_header.iter().filter(|name| belongs_to_connection(name) || *name == CONTENT_TYPE);
        let of_key = of_key.map(|name| ("api_key_header".to_owned(), name));
        // Another name of the host may be meant, as that of a virtual host.
        let set = self.headers.keys().filter(|name| belongs_to_connection(name) && *name != HOST);
        let set = set.map(|name| (format!("headers.{name}"), name));
        let of_connection = of_key.chain(set).map(|(setting, name)| {
            invalid(&setting, &format!("`{name}` belongs to the connection or to the body"))
        });
        let withheld = self.allowed_headers.iter().flatten().filter(|name| !can_be_sent(name));
        let headers = withheld.map(|name| {
            let problem =
                format!("`{name}` is a credential or belongs to the connection, and is never forwarded");
            invalid("forward_headers", &problem)
        });
        ConfigError::all(iter::once(url).chain(keys).chain(of_connection).chain(headers))
    }

    /// What is valid and probably a mistake: a line for each, which has neither the URL nor the key.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Some(url) = self.base_uri() else { return Vec::new() };
        let mut warnings = Vec::new();
        if !has_version(&url, self.query.as_deref()) {
            warnings.push("base_url: no version such as /v1 in the path".to_owned());
        }
        let has_secret = !self.keys.is_empty() || self.headers.values().any(HeaderValue::is_sensitive);
        if has_secret && is_public_plain_text(&url) {
            warnings.push("base_url: http:// sends the key in plain text, use https://".to_owned());
        }
        if let Some((name, _)) = self.credentials().filter(|(name, _)| self.headers.contains_key(name)) {
            warnings.push(format!("headers.{name}: the API key replaces it"));
        }
        if self.query.as_ref().is_some_and(|query| query.contains(MODEL)) {
            warnings.push(format!("query: {MODEL} is replaced in base_url alone"));
        }
        warnings
    }

    /// The URI of `model` at `endpoint`, with `path` behind it and the query of a caller, without the parameters
    /// that the settings have; `None` if it is no URI.
    #[must_use]
    pub fn uri(&self, endpoint: Endpoint, model: &str, path: &str, query: Option<&str>) -> Option<Uri> {
        let base_url = if self.base_url.contains(MODEL) {
            self.base_url.replace(MODEL, &percent_encoded(model))
        } else {
            self.base_url.clone()
        };
        let own: Vec<&str> = self.query.iter().flat_map(|query| query.split('&')).collect();
        let is_new = |field: &&str| own.iter().all(|own| parameter_name(own) != parameter_name(field));
        let of_caller = query.into_iter().flat_map(|query| query.split('&')).filter(is_new);
        let fields: Vec<&str> = own.iter().copied().chain(of_caller).collect();
        let mark = if fields.is_empty() { "" } else { "?" };
        format!("{base_url}{}{path}{mark}{}", endpoint.suffix(), fields.join("&")).parse().ok()
    }

    /// The headers that every request has, unless the caller's has them.
    pub(super) fn default_headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers that are sent on beside those that providers read; `None`: all.
    pub(super) fn allowed_headers(&self) -> Option<&[HeaderName]> {
        self.allowed_headers.as_deref()
    }

    /// The header with the first key.
    pub(super) fn credentials(&self) -> Option<(HeaderName, HeaderValue)> {
        let ApiKeySource::Given(key) = self.keys.first()? else { return None };
        let (name, prefix) = match (&self.key_header, self.dialect) {
            (Some(name), _) => (name.clone(), ""),
            (None, ApiDialect::OpenAi) => (AUTHORIZATION, "Bearer "),
            (None, ApiDialect::Anthropic) => (HeaderName::from_static("x-api-key"), ""),
            (None, ApiDialect::Gemini) => (HeaderName::from_static("x-goog-api-key"), ""),
        };
        Some((name, key.header(prefix)?))
    }

    /// The base URL with some model.
    fn base_uri(&self) -> Option<Uri> {
        self.base_url.replace(MODEL, "m").parse().ok()
    }

    /// Whether the base URL has this host.
    pub(super) fn has_host(&self, host: &str) -> bool {
        self.base_uri().is_some_and(|uri| uri.host().is_some_and(|own| own.eq_ignore_ascii_case(host)))
    }

    /// Whether this is a URI below the base URL.
    pub(super) fn has_uri(&self, uri: &Uri) -> bool {
        let uri = uri.to_string();
        uri.strip_prefix(&*self.base_url).is_some_and(|path| path.starts_with('/'))
    }

    /// The first variable with a key that was not set.
    pub(super) fn missing_variable(&self) -> Option<&str> {
        self.keys.iter().find_map(|key| match key {
            ApiKeySource::Variable(variable) => Some(&**variable),
            ApiKeySource::Given(_) => None,
        })
    }
}

/// Of the base URL the host alone, and of the headers their names: the rest may have credentials.
impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("host", &self.base_uri().as_ref().and_then(Uri::host))
            .field("dialect", &self.dialect)
            .field("kind", &self.kind)
            .field("keys", &self.keys)
            .field("headers", &HeaderNames(&self.headers))
            .finish_non_exhaustive()
    }
}

/// Checks a base URL.
fn check_url(url: &str) -> Result<(), String> {
    const EXAMPLE: &str = "https://api.openai.com/v1";
    http_uri(&url.replace(MODEL, "m"), EXAMPLE, "api_key_env")?;
    if url.contains(['?', '#']) {
        return Err("expected a URL that ends with its path".to_owned());
    }
    if url.replace(MODEL, "").contains(['{', '}']) {
        return Err(format!("expected {MODEL} or no braces"));
    }
    if Endpoint::of_path(url).is_some() {
        return Err(format!(
            "expected the URL of the whole API, such as {EXAMPLE}, found that of one endpoint"
        ));
    }
    Ok(())
}

/// The text as a segment of a path.
fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

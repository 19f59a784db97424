use std::ffi::OsString;

use http::header::AUTHORIZATION;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Uri};
use serde::Deserialize;

use super::GatewayConfigError;
use crate::endpoint::{ApiDialect, Endpoint};

/// The table of a provider in the configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with base_url and dialect")]
pub(super) struct ProviderEntry {
    pub(super) base_url: String,
    pub(super) dialect: ApiDialect,
    pub(super) api_key_env: Option<String>,
}

/// One provider: its base URL, its dialect and its credentials.
#[derive(Clone, Debug)]
pub(crate) struct ProviderConfig {
    base_url: String,
    dialect: ApiDialect,
    /// Marked as sensitive, so that it is never printed with the headers.
    credentials: Option<HeaderValue>,
}

impl ProviderConfig {
    pub(super) fn check(
        name: &str,
        entry: ProviderEntry,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, GatewayConfigError> {
        let key = |key: &str| format!("providers.{name}.{key}");
        if !is_visible(name) || name.contains('/') || name.starts_with('@') {
            let problem = "expected a name of visible ASCII, without `/`, that does not begin with `@`";
            return Err(GatewayConfigError::new(format!("providers.{name}"), problem));
        }
        let base_url = entry.base_url.trim_end_matches('/').to_owned();
        check_url(&base_url).map_err(|problem| GatewayConfigError::new(key("base_url"), problem))?;
        let credentials = match &entry.api_key_env {
            Some(variable) => {
                let found = credentials(variable, entry.dialect, env);
                Some(found.map_err(|problem| GatewayConfigError::new(key("api_key_env"), problem))?)
            }
            None => None,
        };
        Ok(Self { base_url, dialect: entry.dialect, credentials })
    }

    pub(crate) fn dialect(&self) -> ApiDialect {
        self.dialect
    }

    /// The URI of `endpoint`.
    pub(crate) fn uri(&self, endpoint: Endpoint) -> Result<Uri, http::uri::InvalidUri> {
        format!("{}{}", self.base_url, endpoint.suffix()).parse()
    }

    /// The header with the API key.
    pub(crate) fn credentials(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = match self.dialect {
            ApiDialect::OpenAi => AUTHORIZATION,
            ApiDialect::Anthropic => HeaderName::from_static("x-api-key"),
            ApiDialect::Gemini => HeaderName::from_static("x-goog-api-key"),
        };
        self.credentials.clone().map(|value| (name, value))
    }
}

/// Checks a base URL. The message does not contain the URL, because it may contain a key.
fn check_url(url: &str) -> Result<(), &'static str> {
    const EXPECTED: &str = "expected a URL such as https://api.openai.com/v1";
    let uri: Uri = url.parse().map_err(|_| EXPECTED)?;
    let authority = uri.authority().ok_or(EXPECTED)?;
    if uri.scheme() != Some(&Scheme::HTTP) && uri.scheme() != Some(&Scheme::HTTPS) {
        return Err("expected a URL that begins with http:// or https://");
    }
    if authority.as_str().contains('@') {
        return Err("expected a URL without credentials, they belong in api_key_env");
    }
    if url.contains(['?', '#']) {
        return Err("expected a URL that ends with its path");
    }
    if Endpoint::ALL.iter().any(|endpoint| url.trim_end_matches('/').ends_with(endpoint.suffix())) {
        return Err(
            "expected the URL of the whole API, such as https://api.openai.com/v1, found that of one endpoint",
        );
    }
    Ok(())
}

fn credentials(
    variable: &str,
    dialect: ApiDialect,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<HeaderValue, String> {
    // A value that does not look like the name of a variable may be the key itself, so the message does not
    // contain it.
    let looks_like_a_name =
        variable.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    let named = if looks_like_a_name { variable } else { "the variable it names" };
    let key = env(variable).ok_or_else(|| format!("{named} is not set"))?;
    let key = key.to_str().unwrap_or("\u{fffd}");
    if key.is_empty() {
        return Err(format!("{named} is empty"));
    }
    if !is_visible(key) {
        return Err(format!("expected visible ASCII in {named}, found a space or another character"));
    }
    let value = match dialect {
        ApiDialect::OpenAi => format!("Bearer {key}"),
        ApiDialect::Anthropic | ApiDialect::Gemini => key.to_owned(),
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| format!("{named} cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether `text` is not empty and consists of visible ASCII, so that it is valid in a header.
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

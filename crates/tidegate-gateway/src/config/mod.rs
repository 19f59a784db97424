//! The file: who is there, what to do for them, and which requests go where.
//!
//! # Example
//! ```
//! use tidegate_gateway::Config;
//!
//! # fn main() -> Result<(), tidegate_gateway::ConfigError> {
//! let config = Config::parse(
//!     r#"
//!     listen = "127.0.0.1:8787"
//!
//!     [providers.openai]
//!     base_url    = "https://api.openai.com/v1"
//!     dialect     = "openai"
//!     api_key_env = "OPENAI_API_KEY"
//!
//!     [policies.default]
//!     retry           = { max_retries = 3, initial_delay = "1s", max_delay = "30s" }
//!     circuit_breaker = { failure_threshold = 5, cooldown_seconds = 30 }
//!
//!     [[routes]]
//!     path  = "/v1/chat/completions"
//!     model = "gpt-4o"
//!     chain = ["openai/gpt-4o", "openai/gpt-4o-mini"]
//!     "#,
//!     |variable| (variable == "OPENAI_API_KEY").then(|| "the-key".into()),
//! )?;
//! assert_eq!(config.listen.port(), 8787);
//! # Ok(())
//! # }
//! ```
//!
//! Every key there is stands in `example.toml` beside the source.
//!
//! # Defaults
//! It listens on `127.0.0.1:8787`, takes bodies of 32 MiB, and gives calls 10 s to end when it is stopped. A
//! route takes any model under the policy `default`; in a policy a part that is not named is off, and so is all of
//! `default` if there is none. The `AI_LIB_*` variables of [`tidegate::config`] overrule every policy.
//!
//! # Dialects
//! A chain under `/v1/chat/completions` or `/v1/messages` may mix providers of the dialects `openai` and `anthropic`:
//! where a provider speaks the other one, requests and answers are translated (see [`tidegate::translate`]). What a
//! translated model thought is not told under `/v1/messages` if the chain asks Anthropic natively, too: the caller would
//! send it back, and Anthropic refuses thoughts that are not its own. A provider of the dialect `gemini` cannot be asked
//! yet; its OpenAI-compatible URL can.
//!
//! # Models
//! A target after the first is passed over if its model is known to be too small for the request, or to take no tools,
//! pictures or JSON schemas that are in it. Well-known models are known; `[models.<beginning of a name>]` adds others and
//! corrects what is wrong, with or without the provider in front (see [`ModelTable`]).
//!
//! # Answers given before
//! Chains that end in `@cached` share one cache, bounded by `cache.max_bytes` (64 MiB) and `cache.max_age` (`"1h"`).
//! It answers like questions, too: those with as large a share of words in common as `cache.similarity` (0.8) says; 1
//! asks for the same words, and above that only the same prompt will do (see [`AnswerCache`](tidegate::fallback::AnswerCache)).
//!
//! # When it says no
//! An unknown key, an unknown name, a number out of range, a provider that cannot be asked what a route asks: in
//! one line with the key at fault and, where something is like it, what may have been meant. Keys are read from
//! the environment only, and no message repeats one.
//!
//! # Mistakes people make
//! A base URL without its version: `https://api.openai.com` instead of `https://api.openai.com/v1`.

mod cache;
mod error;
mod file;
mod nearest;
mod policy;
mod provider;
mod route;
mod wording;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tidegate::providers::ModelTable;
use tidegate::{Payload, ResilienceConfig};

pub(crate) use self::cache::CacheEntry;
pub use self::error::ConfigError;
use self::file::File;
pub(crate) use self::provider::Provider;
pub(crate) use self::route::{ANY, LastResort, Route, TargetName};
use self::route::{Known, check_distinct};

/// What a gateway is made from; see the [module page](self).
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The largest request body that is taken, in bytes.
    pub body_limit: usize,
    /// How long calls may go on once it is told to stop.
    pub drain: Duration,
    pub(crate) providers: BTreeMap<String, Provider>,
    pub(crate) policies: BTreeMap<String, ResilienceConfig>,
    /// What `@cached` remembers.
    pub(crate) cache: CacheEntry,
    pub(crate) models: ModelTable,
    pub(crate) routes: Vec<Route>,
}

const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8787);
const DEFAULT_DRAIN: Duration = Duration::from_secs(10);

impl Config {
    /// Reads the file at `path`, and the environment of the process.
    ///
    /// # Errors
    ///
    /// It is not there, or as [`parse`](Self::parse).
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::new("", format!("cannot be read: {error}")))?;
        Self::parse(&text, |variable| std::env::var_os(variable))
    }

    /// Reads `text`, with the variables that `env` knows.
    ///
    /// # Errors
    ///
    /// Something cannot be used; the message names the key, and what was expected.
    pub fn parse(text: &str, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let file = File::read(text)?;
        let listen = match &file.listen {
            None => DEFAULT_LISTEN,
            Some(text) => text.parse().map_err(|_| {
                ConfigError::new(
                    "listen",
                    format!("expected an address such as {DEFAULT_LISTEN}, found {text:?}"),
                )
            })?,
        };
        let body_limit = file.body_limit.unwrap_or(Payload::DEFAULT_CAP);
        if body_limit == 0 {
            return Err(ConfigError::new("body_limit", "expected at least 1, found 0"));
        }
        let mut providers = BTreeMap::new();
        for (name, entry) in file.providers {
            let provider = Provider::check(&name, entry, &env)?;
            providers.insert(name, provider);
        }
        let policies = policy::check(file.policies, &env)?;
        let known = Known { providers: &providers, policies: &policies };
        file.cache.check()?;
        let cache = file.cache;
        let entries = file.routes.into_iter().enumerate();
        let routes = entries.map(|(index, entry)| Route::check(index, entry, &known));
        let routes = routes.collect::<Result<Vec<_>, _>>()?;
        if routes.is_empty() {
            return Err(ConfigError::new("routes", "expected at least one"));
        }
        check_distinct(&routes)?;
        let drain = file.drain.unwrap_or(DEFAULT_DRAIN);
        let models = file
            .models
            .into_iter()
            .fold(ModelTable::new(), |models, (prefix, entry)| models.with(&prefix, entry.into()));
        Ok(Self { listen, body_limit, drain, providers, policies, cache, models, routes })
    }
}

#[cfg(test)]
mod tests;

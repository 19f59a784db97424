use std::collections::BTreeMap;
use std::ffi::OsString;

use http::uri::Authority;

use super::ProviderSettings;
use crate::config::suggest;
use crate::settings::ConfigError;

/// The providers that targets can name, with how each is called.
///
/// | name | base URL | variable with the key | variable with another base URL |
/// |---|---|---|---|
/// | `openai` | `https://api.openai.com/v1` | `OPENAI_API_KEY` | `OPENAI_BASE_URL` |
/// | `anthropic` | `https://api.anthropic.com/v1` | `ANTHROPIC_API_KEY` | `ANTHROPIC_BASE_URL`, without `/v1` |
/// | `gemini`, `google` | `https://generativelanguage.googleapis.com/v1beta/openai` | `GEMINI_API_KEY` | `GOOGLE_GEMINI_BASE_URL`, without `/v1beta/openai` |
/// | `deepseek` | `https://api.deepseek.com/v1` | `DEEPSEEK_API_KEY` | `DEEPSEEK_BASE_URL` |
/// | `groq` | `https://api.groq.com/openai/v1` | `GROQ_API_KEY` | `GROQ_BASE_URL`, without `/openai/v1` |
/// | `mistral` | `https://api.mistral.ai/v1` | `MISTRAL_API_KEY` | `MISTRAL_BASE_URL` |
/// | `together` | `https://api.together.xyz/v1` | `TOGETHER_API_KEY` | `TOGETHER_BASE_URL` |
/// | `openrouter` | `https://openrouter.ai/api/v1` | `OPENROUTER_API_KEY` | `OPENROUTER_BASE_URL` |
/// | `cerebras` | `https://api.cerebras.ai/v1` | `CEREBRAS_API_KEY` | `CEREBRAS_BASE_URL`, without `/v1` |
/// | `cohere` | `https://api.cohere.ai/compatibility/v1` | `COHERE_API_KEY` | `COHERE_BASE_URL` |
/// | `xai` | `https://api.x.ai/v1` | `XAI_API_KEY` | `XAI_BASE_URL` |
/// | `ollama` | `http://localhost:11434/v1` | none | `OLLAMA_BASE_URL` |
/// | `vllm` | `http://localhost:8000/v1` | none | `VLLM_BASE_URL` |
/// | `azure` | `AZURE_OPENAI_ENDPOINT`, with `OPENAI_API_VERSION` | `AZURE_OPENAI_API_KEY` | |
///
/// All but Anthropic are called in OpenAI's dialect. `azure` exists once [`from_env`](Self::from_env) has
/// found both variables of its URL, or with [`ProviderSettings::azure`].
///
/// A variable with another base URL has the value that the provider's own client library expects: some add a
/// path, which is added here as well unless the URL ends in it. It applies to the built-in providers alone,
/// not to those of [`with`](Self::with).
#[derive(Clone, Debug)]
#[must_use]
pub struct Providers(BTreeMap<String, ProviderSettings>);

/// Name, base URL, variable with the key, variable with another base URL and the path that is added to its
/// value.
type BuiltIn = (&'static str, &'static str, Option<&'static str>, &'static str, &'static str);

const BUILT_IN: [BuiltIn; 14] = [
    ("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY"), "OPENAI_BASE_URL", ""),
    (ANTHROPIC, "https://api.anthropic.com/v1", Some("ANTHROPIC_API_KEY"), "ANTHROPIC_BASE_URL", "/v1"),
    ("gemini", GEMINI, Some("GEMINI_API_KEY"), GEMINI_VARIABLE, "/v1beta/openai"),
    ("google", GEMINI, Some("GEMINI_API_KEY"), GEMINI_VARIABLE, "/v1beta/openai"),
    ("deepseek", "https://api.deepseek.com/v1", Some("DEEPSEEK_API_KEY"), "DEEPSEEK_BASE_URL", ""),
    ("groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY"), "GROQ_BASE_URL", "/openai/v1"),
    ("mistral", "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY"), "MISTRAL_BASE_URL", ""),
    ("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY"), "TOGETHER_BASE_URL", ""),
    ("openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY"), "OPENROUTER_BASE_URL", ""),
    ("cerebras", "https://api.cerebras.ai/v1", Some("CEREBRAS_API_KEY"), "CEREBRAS_BASE_URL", "/v1"),
    ("cohere", "https://api.cohere.ai/compatibility/v1", Some("COHERE_API_KEY"), "COHERE_BASE_URL", ""),
    ("xai", "https://api.x.ai/v1", Some("XAI_API_KEY"), "XAI_BASE_URL", ""),
    ("ollama", "http://localhost:11434/v1", None, "OLLAMA_BASE_URL", ""),
    ("vllm", "http://localhost:8000/v1", None, "VLLM_BASE_URL", ""),
];

/// The one built-in provider that is not called in OpenAI's dialect.
const ANTHROPIC: &str = "anthropic";
const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta/openai";
const GEMINI_VARIABLE: &str = "GOOGLE_GEMINI_BASE_URL";

impl Default for Providers {
    fn default() -> Self {
        Self::new()
    }
}

impl Providers {
    /// The built-in providers, without their keys.
    pub fn new() -> Self {
        let built_in = BUILT_IN.into_iter().map(|(name, base_url, key, variable, path)| {
            let settings = match name {
                ANTHROPIC => ProviderSettings::anthropic(base_url),
                _ => ProviderSettings::openai(base_url),
            };
            let settings = settings.base_url_env(variable, path);
            (name.to_owned(), key.into_iter().fold(settings, ProviderSettings::api_key_env))
        });
        Self(built_in.collect())
    }

    /// The built-in providers with the keys and base URLs that are in the environment. A key that is missing
    /// is an error only once a target needs it; a variable that is empty counts as not set.
    ///
    /// # Errors
    ///
    /// A variable is not a key, or not a base URL. The message has the name of the variable, and not its
    /// value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new().keys_from(|variable| std::env::var_os(variable))
    }

    /// No providers.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a provider, or replaces the one of this name. The name is the part of a target before the first
    /// slash.
    pub fn with(mut self, name: &str, settings: ProviderSettings) -> Self {
        self.0.insert(name.to_owned(), settings);
        self
    }

    /// Reads the keys of all providers whose key is in a variable, and the base URLs of the built-in ones;
    /// `env` returns the value of a variable.
    ///
    /// # Errors
    ///
    /// As [`from_env`](Self::from_env).
    pub fn keys_from(mut self, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |variable: &str| env(variable)?.into_string().ok().filter(|text| !text.is_empty());
        if let (Some(url), Some(version)) = (text("AZURE_OPENAI_ENDPOINT"), text("OPENAI_API_VERSION")) {
            let azure = ProviderSettings::azure(url, &version).api_key_env("AZURE_OPENAI_API_KEY");
            self.0.entry("azure".to_owned()).or_insert(azure);
        }
        self.map(|settings| settings.with_variables(&env))
    }

    /// Reads the keys and base URLs of the providers of these names whose key was not read before: of those
    /// that were added after [`from_env`](Self::from_env), too.
    pub(super) fn with_missing_keys<'a>(
        mut self,
        names: impl Iterator<Item = &'a str>,
        env: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        for name in names {
            if let Some(settings) =
                self.0.get_mut(name).filter(|settings| settings.missing_variable().is_some())
            {
                *settings = settings.clone().with_variables(env)?;
            }
        }
        Ok(self)
    }

    fn map(
        self,
        change: impl Fn(ProviderSettings) -> Result<ProviderSettings, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let changed = self.0.into_iter().map(|(name, settings)| Ok((name, change(settings)?)));
        Ok(Self(changed.collect::<Result<_, _>>()?))
    }

    /// The hosts of the base URLs that are in the environment.
    pub(super) fn moved_by(&self, env: &impl Fn(&str) -> Option<OsString>) -> Box<[Authority]> {
        self.0.values().filter_map(|settings| settings.moved_by(env)).collect()
    }

    /// The provider of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ProviderSettings> {
        self.0.get(name)
    }

    /// The provider of a target that names it before its first slash, checked.
    pub(super) fn of_target(&self, target: &str) -> Result<&ProviderSettings, ConfigError> {
        let Some((name, model)) = target.split_once('/').filter(|(_, model)| !model.is_empty()) else {
            let problem = format!("expected \"provider/model\", found {target:?}");
            return Err(ConfigError::new("chain", problem));
        };
        let Some(settings) = self.get(name) else {
            let others = suggest(name, self.0.keys().map(String::as_str));
            return Err(ConfigError::new("chain", format!("unknown provider `{name}` of {model}{others}")));
        };
        settings.check().map_err(|error| error.within(&format!("providers.{name}")))?;
        Ok(settings)
    }
}

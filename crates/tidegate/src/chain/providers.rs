use std::collections::BTreeMap;
use std::ffi::OsString;

use super::ProviderSettings;
use crate::config::suggest;
use crate::settings::ConfigError;

/// The providers that targets can name, with how each is called.
///
/// | name | base URL | variable with the key |
/// |---|---|---|
/// | `openai` | `https://api.openai.com/v1` | `OPENAI_API_KEY` |
/// | `anthropic` | `https://api.anthropic.com/v1` | `ANTHROPIC_API_KEY` |
/// | `gemini`, `google` | `https://generativelanguage.googleapis.com/v1beta/openai` | `GEMINI_API_KEY` |
/// | `deepseek` | `https://api.deepseek.com/v1` | `DEEPSEEK_API_KEY` |
/// | `groq` | `https://api.groq.com/openai/v1` | `GROQ_API_KEY` |
/// | `mistral` | `https://api.mistral.ai/v1` | `MISTRAL_API_KEY` |
/// | `together` | `https://api.together.xyz/v1` | `TOGETHER_API_KEY` |
/// | `openrouter` | `https://openrouter.ai/api/v1` | `OPENROUTER_API_KEY` |
/// | `cerebras` | `https://api.cerebras.ai/v1` | `CEREBRAS_API_KEY` |
/// | `cohere` | `https://api.cohere.ai/compatibility/v1` | `COHERE_API_KEY` |
/// | `xai` | `https://api.x.ai/v1` | `XAI_API_KEY` |
/// | `ollama` | `http://localhost:11434/v1` | none |
/// | `vllm` | `http://localhost:8000/v1` | none |
/// | `azure` | `AZURE_OPENAI_ENDPOINT`, with `OPENAI_API_VERSION` | `AZURE_OPENAI_API_KEY` |
///
/// All but Anthropic are called in OpenAI's dialect. `azure` exists once [`from_env`](Self::from_env) has found both
/// variables of its URL, or with [`ProviderSettings::azure`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Providers(BTreeMap<String, ProviderSettings>);

/// Name, base URL and variable with the key of the providers in OpenAI's dialect.
const OPENAI_DIALECT: [(&str, &str, Option<&str>); 13] = [
    ("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY")),
    ("gemini", GEMINI, Some("GEMINI_API_KEY")),
    ("google", GEMINI, Some("GEMINI_API_KEY")),
    ("deepseek", "https://api.deepseek.com/v1", Some("DEEPSEEK_API_KEY")),
    ("groq", "https://api.groq.com/openai/v1", Some("GROQ_API_KEY")),
    ("mistral", "https://api.mistral.ai/v1", Some("MISTRAL_API_KEY")),
    ("together", "https://api.together.xyz/v1", Some("TOGETHER_API_KEY")),
    ("openrouter", "https://openrouter.ai/api/v1", Some("OPENROUTER_API_KEY")),
    ("cerebras", "https://api.cerebras.ai/v1", Some("CEREBRAS_API_KEY")),
    ("cohere", "https://api.cohere.ai/compatibility/v1", Some("COHERE_API_KEY")),
    ("xai", "https://api.x.ai/v1", Some("XAI_API_KEY")),
    ("ollama", "http://localhost:11434/v1", None),
    ("vllm", "http://localhost:8000/v1", None),
];

const GEMINI: &str = "https://generativelanguage.googleapis.com/v1beta/openai";

impl Default for Providers {
    fn default() -> Self {
        Self::new()
    }
}

impl Providers {
    /// The built-in providers, without their keys.
    pub fn new() -> Self {
        let openai_dialect = OPENAI_DIALECT.into_iter().map(|(name, base_url, variable)| {
            let settings = ProviderSettings::openai(base_url);
            let settings = variable.into_iter().fold(settings, ProviderSettings::api_key_env);
            (name.to_owned(), settings)
        });
        let anthropic =
            ProviderSettings::anthropic("https://api.anthropic.com/v1").api_key_env("ANTHROPIC_API_KEY");
        Self(openai_dialect.chain([("anthropic".to_owned(), anthropic)]).collect())
    }

    /// The built-in providers with the keys that are in the environment. A key that is missing is an error only once a
    /// target needs it.
    ///
    /// # Errors
    ///
    /// A variable is not a key. The message has the name of the variable, and not its value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new().keys_from(|variable| std::env::var_os(variable))
    }

    /// No providers.
    pub fn empty() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds a provider, or replaces the one of this name. The name is the part of a target before the first slash.
    pub fn with(mut self, name: &str, settings: ProviderSettings) -> Self {
        self.0.insert(name.to_owned(), settings);
        self
    }

    /// Reads the keys of all providers whose key is in a variable; `env` returns the value of one.
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
        let with_keys = self.0.into_iter().map(|(name, settings)| Ok((name, settings.with_key_from(&env)?)));
        Ok(Self(with_keys.collect::<Result<_, _>>()?))
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
            return Err(ConfigError::with_problem("chain", problem));
        };
        let Some(settings) = self.get(name) else {
            let others = suggest(name, self.0.keys().map(String::as_str));
            return Err(ConfigError::with_problem(
                "chain",
                format!("unknown provider `{name}` of {model}{others}"),
            ));
        };
        settings.check().map_err(|error| error.within(&format!("providers.{name}")))?;
        Ok(settings)
    }
}

use std::fmt;

/// A model provider, as far as its responses need their own rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Provider {
    /// OpenAI.
    OpenAi,
    /// OpenAI's models at Azure.
    Azure,
    /// Anthropic.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
    /// Google's Vertex AI.
    Vertex,
    /// Mistral.
    Mistral,
    /// Groq.
    Groq,
    /// DeepSeek.
    DeepSeek,
    /// Cohere.
    Cohere,
    /// Together.
    Together,
    /// OpenRouter, which forwards the responses of other providers.
    OpenRouter,
    /// Amazon Bedrock.
    Bedrock,
    /// Cerebras.
    Cerebras,
    /// xAI.
    XAi,
    /// Any other provider. Most of them use OpenAI's HTTP API.
    #[default]
    Other,
}

impl Provider {
    /// The provider of a target such as `openai/gpt-4o`, or of the part before the slash. Case is ignored.
    ///
    /// ```
    /// use tidegate_providers::Provider;
    ///
    /// assert_eq!(Provider::named("openai/gpt-4o"), Provider::OpenAi);
    /// assert_eq!(Provider::named("google"), Provider::Gemini);
    /// assert_eq!(Provider::named("my-own-box/llama"), Provider::Other);
    /// ```
    #[must_use]
    pub fn named(target: &str) -> Self {
        let name = target.split('/').next().unwrap_or_default().trim();
        NAMES
            .iter()
            .find(|(_, names)| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
            .map_or(Self::Other, |&(provider, _)| provider)
    }

    /// The provider whose API is at this host, port excluded. Case is ignored.
    ///
    /// ```
    /// use tidegate_providers::Provider;
    ///
    /// assert_eq!(Provider::at_host("api.openai.com"), Provider::OpenAi);
    /// assert_eq!(Provider::at_host("my-resource.openai.azure.com"), Provider::Azure);
    /// assert_eq!(Provider::at_host("localhost"), Provider::Other);
    /// ```
    #[must_use]
    pub fn at_host(host: &str) -> Self {
        let is_within = |domain: &str| {
            let start = host.len().checked_sub(domain.len());
            start.is_some_and(|start| {
                host.is_char_boundary(start)
                    && host[start..].eq_ignore_ascii_case(domain)
                    && (start == 0 || host[..start].ends_with('.'))
            })
        };
        // The region is part of the name.
        if is_within("amazonaws.com") && host.starts_with("bedrock-runtime.") {
            return Self::Bedrock;
        }
        if host.ends_with("-aiplatform.googleapis.com") {
            return Self::Vertex;
        }
        DOMAINS
            .iter()
            .find(|(_, domains)| domains.iter().any(|domain| is_within(domain)))
            .map_or(Self::Other, |&(provider, _)| provider)
    }

    /// Whether its chat streams are known to end with `[DONE]`. Many servers with OpenAI's dialect omit it.
    #[must_use]
    pub const fn sends_done(self) -> bool {
        matches!(
            self,
            Self::OpenAi
                | Self::Azure
                | Self::Mistral
                | Self::Groq
                | Self::DeepSeek
                | Self::Together
                | Self::OpenRouter
                | Self::Cerebras
                | Self::XAi
        )
    }

    /// The name that is written before the slash of a target.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|&&(provider, _)| provider == self).map_or("other", |(_, names)| names[0])
    }
}

/// The name of each provider, followed by its aliases.
const NAMES: [(Provider, &[&str]); 14] = [
    (Provider::OpenAi, &["openai"]),
    (Provider::Azure, &["azure", "azure-openai", "azure_openai", "azure_ai"]),
    (Provider::Anthropic, &["anthropic"]),
    (Provider::Gemini, &["gemini", "google"]),
    (Provider::Vertex, &["vertex", "vertex-ai", "vertex_ai", "vertexai"]),
    (Provider::Mistral, &["mistral", "mistralai"]),
    (Provider::Groq, &["groq"]),
    (Provider::DeepSeek, &["deepseek"]),
    (Provider::Cohere, &["cohere"]),
    (Provider::Together, &["together", "together-ai", "together_ai", "togetherai"]),
    (Provider::OpenRouter, &["openrouter"]),
    (Provider::Bedrock, &["bedrock", "aws-bedrock", "amazon-bedrock"]),
    (Provider::Cerebras, &["cerebras"]),
    (Provider::XAi, &["xai", "x-ai"]),
];

/// The domains of the API of each provider.
const DOMAINS: [(Provider, &[&str]); 13] = [
    (Provider::Azure, &["openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com"]),
    (Provider::OpenAi, &["api.openai.com"]),
    (Provider::Anthropic, &["api.anthropic.com"]),
    (Provider::Gemini, &["generativelanguage.googleapis.com"]),
    (Provider::Vertex, &["aiplatform.googleapis.com"]),
    (Provider::Mistral, &["api.mistral.ai"]),
    (Provider::Groq, &["api.groq.com"]),
    (Provider::DeepSeek, &["api.deepseek.com"]),
    (Provider::Cohere, &["api.cohere.com", "api.cohere.ai"]),
    (Provider::Together, &["api.together.xyz", "api.together.ai"]),
    (Provider::OpenRouter, &["openrouter.ai"]),
    (Provider::Cerebras, &["api.cerebras.ai"]),
    (Provider::XAi, &["api.x.ai"]),
];

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_provider_and_back() {
        for (provider, names) in NAMES {
            assert_eq!(provider.name(), names[0]);
            for name in names {
                assert_eq!(Provider::named(name), provider, "{name}");
                assert_eq!(Provider::named(&format!("{}/a/b", name.to_uppercase())), provider, "{name}");
            }
        }
        for unknown in ["", "/", "other", "openai2", "localhost/gpt-4o", "é/x"] {
            assert_eq!(Provider::named(unknown), Provider::Other, "{unknown}");
        }
        assert_eq!(Provider::Other.to_string(), "other");
    }

    #[test]
    fn a_host_is_that_of_a_provider_or_one_below_it() {
        for (host, provider) in [
            ("API.OpenAI.com", Provider::OpenAi),
            ("eu.api.openai.com", Provider::OpenAi),
            ("west.openai.azure.com", Provider::Azure),
            ("us-east1-aiplatform.googleapis.com", Provider::Vertex),
            ("aiplatform.googleapis.com", Provider::Vertex),
            ("bedrock-runtime.us-east-1.amazonaws.com", Provider::Bedrock),
            ("s3.us-east-1.amazonaws.com", Provider::Other),
            ("notapi.openai.com", Provider::Other),
            ("api.openai.com.example.org", Provider::Other),
            ("é", Provider::Other),
            ("", Provider::Other),
        ] {
            assert_eq!(Provider::at_host(host), provider, "{host}");
        }
    }
}

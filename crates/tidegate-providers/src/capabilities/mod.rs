//! What well-known models can take, and what a request asks of its model.

mod requirements;
mod table;

use tidegate_core::{ModelCapabilities, ModelCatalog, Requirements};

/// What well-known models can take; more can be added, and what is wrong be set right.
///
/// It holds what the providers' pages on their models said, and only what does not depend on a plan, a region or a
/// header: a model that is not in it, or a property that is not sure, counts against nobody. A name is known with and
/// without its version (`gpt-4o`, `gpt-4o-2024-08-06`, `claude-3-5-haiku-latest`); any other ending is another model.
///
/// ```
/// use tidegate_core::{ModelCapabilities, ModelCatalog};
/// use tidegate_providers::ModelTable;
///
/// let models = ModelTable::new()
///     .with("acme-", ModelCapabilities { context_tokens: Some(32_000), ..ModelCapabilities::default() })
///     .with("proxy/gpt-4o", ModelCapabilities { tools: Some(false), ..ModelCapabilities::default() });
/// assert_eq!(models.capabilities("openai/gpt-4o").unwrap().context_tokens, Some(128_000));
/// assert_eq!(models.capabilities("acme/acme-large").unwrap().context_tokens, Some(32_000));
/// assert_eq!(models.capabilities("proxy/gpt-4o").unwrap().tools, Some(false));
/// assert_eq!(models.capabilities("acme/unheard-of"), None);
/// ```
///
/// What a request needs is read from its JSON in any dialect: its tokens at the least (a token has five bytes of
/// ASCII or eight of anything else, more than in any language it has on average; a picture has none), the limit of
/// its answer, tools, pictures, and a JSON schema for the answer.
#[derive(Clone, Debug, Default)]
pub struct ModelTable {
    custom: Vec<(String, ModelCapabilities)>,
    is_empty: bool,
}

impl ModelTable {
    /// The models that are known here.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// No models at all: a chain then asks every target in its turn.
    #[must_use]
    pub fn empty() -> Self {
        Self { is_empty: true, ..Self::default() }
    }

    /// Adds all models whose names begin with `prefix`, with or without the provider in front. The longest prefix
    /// that fits is taken, the later of two that are the same; all go before the ones that are known here, and no
    /// card is made from two.
    #[must_use]
    pub fn with(mut self, prefix: &str, card: ModelCapabilities) -> Self {
        self.custom.push((prefix.to_owned(), card));
        self
    }
}

impl ModelCatalog for ModelTable {
    fn capabilities(&self, target: &str) -> Option<ModelCapabilities> {
        let model = target.split_once('/').map_or(target, |(_, model)| model);
        let fits = |prefix: &str| model.starts_with(prefix) || target.starts_with(prefix);
        let custom = self.custom.iter().filter(|(prefix, _)| fits(prefix)).max_by_key(|(prefix, _)| prefix.len());
        match custom {
            Some((_, card)) => Some(*card),
            None if self.is_empty => None,
            None => table::card(model),
        }
    }

    fn requirements(&self, body: &[u8]) -> Requirements {
        requirements::read(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(context: u64) -> ModelCapabilities {
        ModelCapabilities { context_tokens: Some(context), ..ModelCapabilities::default() }
    }

    #[test]
    fn the_users_word_goes_before_the_table_and_the_longest_prefix_before_the_others() {
        let models = ModelTable::new().with("gpt-", of(1)).with("gpt-4o-", of(2)).with("azure/gpt-", of(3));
        for (target, context) in [
            ("openai/gpt-4o", Some(1)),
            ("openai/gpt-4o-mini", Some(2)),
            ("azure/gpt-4o", Some(3)),
            ("gpt-5", Some(1)),
            ("anthropic/claude-3-haiku-20240307", Some(200_000)),
            ("openrouter/openai/gpt-4o", None),
            ("", None),
        ] {
            assert_eq!(models.capabilities(target).and_then(|card| card.context_tokens), context, "{target}");
        }
        assert_eq!(ModelTable::new().with("m", of(1)).with("m", of(2)).capabilities("m"), Some(of(2)));
    }

    #[test]
    fn an_empty_table_knows_what_it_is_told() {
        let models = ModelTable::empty().with("own", of(1));
        assert_eq!((models.capabilities("openai/gpt-4o"), models.capabilities("a/own-model")), (None, Some(of(1))));
    }
}

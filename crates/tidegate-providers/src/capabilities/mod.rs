//! Capabilities of well-known models, and the requirements of a request.

mod requirements;
mod table;

use tidegate_core::{ModelCapabilities, ModelCatalog, Requirements};

/// A table of the capabilities of well-known models, which can be extended and corrected.
///
/// It is taken from the providers' documentation of their models. It holds only properties that do not depend
/// on a plan, a region or a header. A model that is not in the table, or a property that is uncertain,
/// excludes no target. A model name is recognised with and without its version (`gpt-4o`,
/// `gpt-4o-2024-08-06`, `claude-3-5-haiku-latest`). A name with any other ending is another model.
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
/// The requirements of a request are read from its JSON in any dialect: a lower bound of its tokens, its
/// output limit, tools, images, and a JSON schema for the response. The lower bound counts a token for five
/// bytes of ASCII or eight of anything else, more bytes than a token has on average in any language. Images
/// count as no tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelTable {
    custom: Vec<(String, ModelCapabilities)>,
    is_empty: bool,
}

impl ModelTable {
    /// The built-in table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A table without models, with which a fallback chain skips no target.
    #[must_use]
    pub fn empty() -> Self {
        Self { is_empty: true, ..Self::default() }
    }

    /// Adds all models with names that begin with `prefix`, with or without the provider in front. The
    /// longest matching prefix applies, and the later of two equal ones. All added entries take precedence
    /// over the built-in table. Entries are not merged.
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
        let custom =
            self.custom.iter().filter(|(prefix, _)| fits(prefix)).max_by_key(|(prefix, _)| prefix.len());
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
    fn added_entries_precede_the_table_and_the_longest_prefix_precedes_the_others() {
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
    fn an_empty_table_contains_only_added_entries() {
        let models = ModelTable::empty().with("own", of(1));
        assert_eq!(
            (models.capabilities("openai/gpt-4o"), models.capabilities("a/own-model")),
            (None, Some(of(1)))
        );
    }
}

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::{Checks, DurationText, found};
use tidegate::fallback::AnswerCache;

use super::GatewayConfigError;

/// The settings of the cache that all chains ending in `@cached` share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table with max_bytes, max_age, similarity or shared")]
pub(crate) struct CacheSettings {
    /// Memory in bytes, including the index; 67108864 by default.
    #[schemars(range(min = 1))]
    max_bytes: Option<u64>,
    /// How long an answer is served; `"1h"` by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    max_age: Option<Duration>,
    /// The least share of common words of two prompts that differ only in case, in the mark at the end and in
    /// courtesies around them, above 0 and at most 2; 0.8 by default. At 1 the words are the same, and above
    /// 1 the prompt is identical.
    #[schemars(range(max = 2.0))]
    similarity: Option<f64>,
    /// Whether all callers share the answers.
    #[serde(default)]
    pub(crate) shared: bool,
}

impl CacheSettings {
    /// Checks the values. They are checked even if no chain ends in `@cached`, as providers and policies are.
    pub(super) fn check(&self) -> Result<(), GatewayConfigError> {
        let mut checks = Checks::default();
        let mut invalid = |key: &str, problem: String| {
            checks.fail(GatewayConfigError::new(format!("cache.{key}"), problem));
        };
        if self.max_bytes == Some(0) {
            invalid("max_bytes", "expected at least 1, found 0".to_owned());
        }
        if self.max_age == Some(Duration::ZERO) {
            invalid("max_age", "expected more than 0s, found 0s".to_owned());
        }
        match self.similarity {
            // At 0 all prompts would be similar. All values above 1 have the same effect, and 80 is probably
            // a percentage.
            Some(similarity) if !(similarity > 0.0 && similarity <= 2.0) => {
                let problem = format!("expected a number above 0, and at most 2{}", found(similarity));
                invalid("similarity", problem);
            }
            _ => {}
        }
        checks.finish(())
    }

    /// An empty cache with these settings.
    pub(crate) fn cache(&self) -> AnswerCache {
        let cache = AnswerCache::new();
        let cache = self.max_bytes.into_iter().fold(cache, AnswerCache::max_bytes);
        let cache = self.max_age.into_iter().fold(cache, AnswerCache::max_age);
        self.similarity.into_iter().fold(cache, AnswerCache::similarity)
    }
}

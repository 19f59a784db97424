use std::time::Duration;

use serde::Deserialize;
use tidegate::fallback::AnswerCache;

use super::ConfigError;

/// What `@cached` remembers, for all chains that end in it together.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with max_bytes, max_age or similarity")]
pub(crate) struct CacheEntry {
    max_bytes: Option<u64>,
    #[serde(default, with = "humantime_serde")]
    max_age: Option<Duration>,
    similarity: Option<f64>,
}

impl CacheEntry {
    /// Checked whether a chain ends in it or not, as providers and policies are.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, problem: String| Err(ConfigError::new(format!("cache.{key}"), problem));
        if self.max_bytes == Some(0) {
            return refuse("max_bytes", "expected at least 1, found 0".to_owned());
        }
        if self.max_age == Some(Duration::ZERO) {
            return refuse("max_age", "expected more than 0s, found 0s".to_owned());
        }
        match self.similarity {
            // At 0 all would be alike. Above 1 it makes no difference by how much; 80 was meant to be a percentage.
            Some(similarity) if !(similarity > 0.0 && similarity <= 2.0) => {
                let problem = format!("expected a number above 0, and at most 2, found {similarity}");
                refuse("similarity", problem)
            }
            _ => Ok(()),
        }
    }

    /// An empty one.
    pub(crate) fn cache(&self) -> AnswerCache {
        let cache = AnswerCache::new();
        let cache = self.max_bytes.into_iter().fold(cache, AnswerCache::max_bytes);
        let cache = self.max_age.into_iter().fold(cache, AnswerCache::max_age);
        self.similarity.into_iter().fold(cache, AnswerCache::similarity)
    }
}

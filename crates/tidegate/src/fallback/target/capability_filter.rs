//! Decides, as plain code, whether a target can take the request.

use http::Uri;
use tidegate_core::{FailureKind, MissingCapability, ModelCatalog, Outcome, Requirements};

use super::target_model::{TargetModel, without_key};

/// The requirements of the request, as far as they are known during a call.
#[derive(Debug, Default)]
pub(crate) struct CapabilityFilter {
    /// Parsed when the first target with a known model is considered.
    requirements: Option<Requirements>,
    /// The largest context that was too small, according to a provider.
    largest_insufficient_context: u64,
}

impl CapabilityFilter {
    /// The capability that the models of all `targets` are known to lack; see
    /// [`missing_capability`](Self::missing_capability).
    pub(crate) fn missing_in_all(
        &mut self,
        models: Option<&dyn ModelCatalog>,
        targets: &[TargetModel],
        uri: &Uri,
        body: Option<&[u8]>,
    ) -> Option<MissingCapability> {
        let mut missing = None;
        for target in targets {
            missing = Some(self.missing_capability(models, target, uri, body)?);
        }
        missing
    }

    /// The capability that `target` is known to lack for the request to this URI with this body. Without a
    /// body, only the rejections of other targets are known.
    pub(crate) fn missing_capability(
        &mut self,
        models: Option<&dyn ModelCatalog>,
        target: &TargetModel,
        uri: &Uri,
        body: Option<&[u8]>,
    ) -> Option<MissingCapability> {
        let models = models?;
        let capabilities = target.capabilities(models)?;
        let parse = || body.map(|body| models.requirements(body)).unwrap_or_default();
        let mut requirements = *self.requirements.get_or_insert_with(parse);
        if self.largest_insufficient_context > 0 {
            requirements.raise_above(self.largest_insufficient_context);
        }
        capabilities.first_missing(&target.lower(requirements, uri))
    }

    /// Records the outcome of `target`: a rejection for context length is more reliable than an estimate.
    pub(crate) fn record_failure(
        &mut self,
        models: Option<&dyn ModelCatalog>,
        target: &str,
        outcome: &Outcome,
    ) {
        let is_too_long = outcome.failure().is_some_and(|failure| failure.kind == FailureKind::ContextLength);
        let capabilities =
            models.filter(|_| is_too_long).and_then(|models| models.capabilities(without_key(target)));
        if let Some(context) = capabilities.and_then(|capabilities| capabilities.context_tokens) {
            self.largest_insufficient_context = self.largest_insufficient_context.max(context);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tidegate_core::ModelCapabilities;

    use super::*;
    use crate::{ErrorCode, Failure};

    /// The name of a model is its context length. Counts how often the request is parsed.
    struct SizedByName;

    thread_local!(static PARSE_COUNT: Cell<u32> = const { Cell::new(0) });

    impl ModelCatalog for SizedByName {
        fn capabilities(&self, target: &str) -> Option<ModelCapabilities> {
            Some(ModelCapabilities {
                context_tokens: Some(target.parse().ok()?),
                ..ModelCapabilities::default()
            })
        }

        fn requirements(&self, body: &[u8]) -> Requirements {
            PARSE_COUNT.set(PARSE_COUNT.get() + 1);
            Requirements { tokens: body.len() as u64, ..Requirements::default() }
        }
    }

    fn missing_capability(filter: &mut CapabilityFilter, target: &str) -> Option<MissingCapability> {
        let target = TargetModel { name: target.into(), output_cap: None };
        filter.missing_capability(Some(&SizedByName), &target, &Uri::default(), Some(b"twelve bytes"))
    }

    #[test]
    fn the_request_is_parsed_once_and_only_for_known_models() {
        PARSE_COUNT.set(0);
        let mut filter = CapabilityFilter::default();
        assert_eq!((missing_capability(&mut filter, "unknown"), PARSE_COUNT.get()), (None, 0));
        assert_eq!(
            missing_capability(&mut filter, "11"),
            Some(MissingCapability::Context { needed: 12, limit: 11 })
        );
        assert_eq!((missing_capability(&mut filter, "12"), PARSE_COUNT.get()), (None, 1));
        let target = TargetModel { name: "11".into(), output_cap: None };
        assert_eq!(filter.missing_capability(None, &target, &Uri::default(), None), None);
    }

    #[test]
    fn a_context_no_larger_than_one_that_was_too_small_is_too_small() {
        let failed_with = |kind| Outcome::from(Failure { kind, ..Failure::new(ErrorCode::InvalidRequest) });
        let mut filter = CapabilityFilter::default();
        filter.record_failure(Some(&SizedByName), "100", &failed_with(FailureKind::Response));
        assert_eq!(missing_capability(&mut filter, "100"), None);
        filter.record_failure(Some(&SizedByName), "100", &failed_with(FailureKind::ContextLength));
        filter.record_failure(Some(&SizedByName), "50", &failed_with(FailureKind::ContextLength));
        filter.record_failure(Some(&SizedByName), "unknown", &failed_with(FailureKind::ContextLength));
        assert_eq!(
            missing_capability(&mut filter, "100"),
            Some(MissingCapability::Context { needed: 101, limit: 100 })
        );
        assert_eq!(missing_capability(&mut filter, "101"), None);
    }
}

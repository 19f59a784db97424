//! Whether a target can take the request at all, as plain code.

use tidegate_core::{FailureKind, MissingCapability, ModelCatalog, Outcome, Requirements};

/// What the request needs, as it turns out in the course of a call.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// Read when somebody is to be judged whose model is known.
    needs: Option<Requirements>,
    /// The largest context that has proved too small.
    too_small: u64,
}

impl Fit {
    /// What `target` is known to lack for the request with this body. Of a body that is not at hand nothing is known
    /// but what others have said about it.
    pub(super) fn lack(
        &mut self,
        models: Option<&dyn ModelCatalog>,
        target: &str,
        body: Option<&[u8]>,
    ) -> Option<MissingCapability> {
        let models = models?;
        let card = models.card(target)?;
        let read = || body.map(|body| models.needs(body)).unwrap_or_default();
        let mut needs = *self.needs.get_or_insert_with(read);
        if self.too_small > 0 {
            needs.exceeds(self.too_small);
        }
        card.lack(&needs)
    }

    /// Takes note of what `target` said: that the prompt is too long for it is better known than estimated.
    pub(super) fn note(&mut self, models: Option<&dyn ModelCatalog>, target: &str, outcome: &Outcome) {
        let too_long = outcome.failure().is_some_and(|failure| failure.cause == FailureKind::ContextLength);
        let card = models.filter(|_| too_long).and_then(|models| models.card(target));
        if let Some(context) = card.and_then(|card| card.context_tokens) {
            self.too_small = self.too_small.max(context);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{ErrorCode, Failure, ModelCapabilities};

    /// A model is as large as its name says. Counts how often the request is read.
    struct Named;

    thread_local!(static READ: Cell<u32> = const { Cell::new(0) });

    impl ModelCatalog for Named {
        fn card(&self, target: &str) -> Option<ModelCapabilities> {
            Some(ModelCapabilities {
                context_tokens: Some(target.parse().ok()?),
                ..ModelCapabilities::default()
            })
        }

        fn needs(&self, body: &[u8]) -> Requirements {
            READ.set(READ.get() + 1);
            Requirements { tokens: body.len() as u64, ..Requirements::default() }
        }
    }

    fn lack(fit: &mut Fit, target: &str) -> Option<MissingCapability> {
        fit.lack(Some(&Named), target, Some(b"twelve bytes"))
    }

    #[test]
    fn the_request_is_read_once_and_only_for_models_that_are_known() {
        READ.set(0);
        let mut fit = Fit::default();
        assert_eq!((lack(&mut fit, "unknown"), READ.get()), (None, 0));
        assert_eq!(lack(&mut fit, "11"), Some(MissingCapability::Context { needed: 12, limit: 11 }));
        assert_eq!((lack(&mut fit, "12"), READ.get()), (None, 1));
        assert_eq!(fit.lack(None, "11", None), None);
    }

    #[test]
    fn who_is_no_larger_than_one_that_was_too_small_is_too_small() {
        let said = |cause| Outcome::from(Failure { cause, ..Failure::new(ErrorCode::InvalidRequest) });
        let mut fit = Fit::default();
        fit.note(Some(&Named), "100", &said(FailureKind::Answer));
        assert_eq!(lack(&mut fit, "100"), None);
        fit.note(Some(&Named), "100", &said(FailureKind::ContextLength));
        fit.note(Some(&Named), "50", &said(FailureKind::ContextLength));
        fit.note(Some(&Named), "unknown", &said(FailureKind::ContextLength));
        assert_eq!(lack(&mut fit, "100"), Some(MissingCapability::Context { needed: 101, limit: 100 }));
        assert_eq!(lack(&mut fit, "101"), None);
    }
}

//! What the layers use by default of the providers and the translators, and what they use without those
//! features.

#[cfg(feature = "providers")]
mod of_providers {
    use std::borrow::Cow;
    use std::sync::Arc;

    use http::{HeaderMap, Uri};
    use tidegate_core::AnswerForm::{Document, Unknown};
    use tidegate_core::{Classifier, ModelCatalog};
    use tidegate_providers::{ModelField, ModelTable, Provider, ProviderClassifier};
    pub(crate) use tidegate_providers::{
        PromptEstimate as DefaultEstimate, first_messages_digest, has_side_effects,
    };

    /// The classifier for the target of this name.
    pub(crate) fn classifier(target: &str) -> impl Classifier {
        ProviderClassifier::new(Provider::named(target))
    }

    pub(crate) fn expects_stream(uri: &Uri, headers: &HeaderMap, body: &[u8]) -> bool {
        let classifier = ProviderClassifier::default();
        match classifier.expected_answer(uri, headers, Some(body)) {
            Some(answer) if answer.form != Unknown => answer.form != Document,
            _ => classifier.expects_stream(headers, body),
        }
    }

    pub(crate) fn models() -> Option<Arc<dyn ModelCatalog>> {
        Some(Arc::new(ModelTable::new()))
    }

    /// The model that the body names.
    pub(crate) fn model_in(body: &[u8]) -> Option<Cow<'static, str>> {
        let field = ModelField::read(body).ok()?;
        Some(Cow::Owned(field.model().to_owned()))
    }
}

/// Nothing reads JSON without the providers.
#[cfg(not(feature = "providers"))]
mod of_providers {
    use std::borrow::Cow;
    use std::sync::Arc;

    use http::{HeaderMap, Uri};
    pub(crate) use tidegate_core::ByLength as DefaultEstimate;
    use tidegate_core::{Classifier, ModelCatalog, StatusClassifier};

    pub(crate) fn classifier(_: &str) -> impl Classifier {
        StatusClassifier
    }

    pub(crate) fn expects_stream(_: &Uri, headers: &HeaderMap, body: &[u8]) -> bool {
        StatusClassifier.expects_stream(headers, body)
    }

    pub(crate) fn has_side_effects(_: &Uri, _: &[u8]) -> bool {
        false
    }

    pub(crate) fn models() -> Option<Arc<dyn ModelCatalog>> {
        None
    }

    pub(crate) fn model_in(_: &[u8]) -> Option<Cow<'static, str>> {
        None
    }

    pub(crate) fn first_messages_digest(_: &[u8]) -> Option<u64> {
        None
    }
}

#[cfg(feature = "translate")]
mod of_translators {
    use std::sync::Arc;

    use tidegate_core::{AnswerSynthesizer, StreamContinuator};
    use tidegate_translate::{Composer, StreamContinuation};

    pub(crate) fn continuator() -> Option<Arc<dyn StreamContinuator>> {
        Some(Arc::new(StreamContinuation))
    }

    pub(crate) fn composer() -> Option<Arc<dyn AnswerSynthesizer>> {
        Some(Arc::new(Composer))
    }
}

#[cfg(not(feature = "translate"))]
mod of_translators {
    use std::sync::Arc;

    use tidegate_core::{AnswerSynthesizer, StreamContinuator};

    pub(crate) fn continuator() -> Option<Arc<dyn StreamContinuator>> {
        None
    }

    pub(crate) fn composer() -> Option<Arc<dyn AnswerSynthesizer>> {
        None
    }
}

pub(crate) use of_providers::*;
pub(crate) use of_translators::*;

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{Extensions, Request, Uri};
use tidegate_core::{ResponseTranslator, Translation, Translator, Untranslatable};

use crate::offload::LONG_DOCUMENT;
use crate::rejected::{record_rejection, record_rejection_of};
use crate::{Error, ErrorCode, Gate, Payload, Rejection, RejectionReason, Trail};

/// The settings of the layer.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) translator: Option<Arc<TargetTranslator<dyn Translator>>>,
    pub(super) body_cap: usize,
    pub(super) answer_cap: usize,
}

/// A translator, and the target that it translates for, if that has a name.
pub(super) struct TargetTranslator<T: ?Sized> {
    pub(super) target: Option<Arc<str>>,
    pub(super) translator: T,
}

impl Default for Settings {
    fn default() -> Self {
        Self { translator: None, body_cap: Payload::DEFAULT_CAP, answer_cap: Payload::DEFAULT_CAP }
    }
}

/// The request for the target, and the translator of the response; `None` if the request was not translated.
pub(super) type PreparedRequest = (Request<Payload>, Option<Box<dyn ResponseTranslator>>);

impl Settings {
    /// Whether translating `request` would delay other tasks.
    pub(super) fn is_slow(&self, request: &Request<Payload>) -> bool {
        self.translator.is_some()
            && request
                .body()
                .bytes()
                .is_some_and(|bytes| (LONG_DOCUMENT..=self.body_cap).contains(&bytes.len()))
    }

    /// The settings for a request to `uri`: without the translator, if it does not apply.
    pub(super) fn for_uri(&self, uri: &Uri) -> Self {
        let translator = self.translator.clone().filter(|it| it.translator.applies_to(uri));
        Self { translator, ..*self }
    }

    /// The longest body that is read; a request that is not translated need not be read.
    pub(super) fn cap(&self) -> usize {
        if self.translator.is_some() { self.body_cap } else { 0 }
    }

    /// Translates the request into the target's dialect.
    pub(super) fn translate(&self, request: Request<Payload>) -> Result<PreparedRequest, Error> {
        let Some(TargetTranslator { translator, .. }) = self.translator.as_deref() else {
            return Ok((request, None));
        };
        let (mut head, body) = request.into_parts();
        let Some(bytes) = body.bytes().filter(|bytes| bytes.len() <= self.body_cap) else {
            let rejection = Rejection::new(Gate::Translate, ErrorCode::RequestTooLarge)
                .because(RejectionReason::BodyTooLong);
            return Err(self.record_rejection(rejection, &head.extensions).into());
        };
        let Translation { body, mut response } = translator
            .request(&mut head, bytes)
            .inspect_err(|untranslatable: &Untranslatable| {
                self.record_rejection(untranslatable.rejection().clone(), &head.extensions);
            })
            .map_err(Error::new)?;
        response.set_event_cap(self.answer_cap);
        if head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        Ok((Request::from_parts(head, body.into()), Some(response)))
    }

    /// Records a rejection of a call to the target.
    pub(super) fn record_rejection(&self, rejection: Rejection, extensions: &Extensions) -> Rejection {
        match self.translator.as_ref().and_then(|it| it.target.as_ref()) {
            Some(target) => record_rejection_of(rejection, target, extensions),
            None => {
                let target = Trail::of(extensions).and_then(Trail::target);
                record_rejection(rejection, target.as_deref().unwrap_or_default(), None, extensions)
            }
        }
    }
}

partial_debug!([] Settings, "Settings", body_cap, answer_cap);

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AGE;
use http::{Request, Response};
use tidegate_core::{Compose, Question};

use super::answered::{Answered, Strategy};
use super::cache::{AnswerCache, Key};
use super::counts::Counts;
use super::fixed::{PromptKind, StaticAnswers};
use super::layer::Settings;
use super::simplified;
use crate::{Payload, clock};

/// What is left when no target has answered.
#[derive(Clone, Debug)]
pub(super) struct Resort {
    pub(super) name: Arc<str>,
    pub(super) counts: Arc<Counts>,
    pub(super) kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Cached(AnswerCache),
    Simplified,
    Static(Arc<StaticAnswers>),
    Emergency(Arc<str>),
}

impl Resort {
    pub(super) fn new(kind: Kind) -> Self {
        let name = match kind {
            Kind::Cached(_) => "@cached",
            Kind::Simplified => "@simplified",
            Kind::Static(_) => "@static",
            Kind::Emergency(_) => "@emergency",
        };
        Self { name: name.into(), counts: Arc::default(), kind }
    }
}

/// A request whose answer can be composed.
pub(super) struct Composable {
    composer: Arc<dyn Compose>,
    question: Question,
    /// On whose behalf it is asked.
    scope: (u64, u64),
}

impl Composable {
    /// `None` if nobody here understands it.
    pub(super) fn of(request: &Request<Payload>, settings: &Settings) -> Option<Self> {
        let composer = Arc::clone(settings.composer.as_ref()?);
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = request.uri().clone();
        let question = composer.question(&head, request.body().bytes()?)?;
        let scope = (settings.scope.digest(request), question.context);
        Some(Self { composer, question, scope })
    }

    pub(super) fn key(&self) -> Key<'_> {
        Key { scope: self.scope, prompt: &self.question.prompt, limit: self.question.max_tokens }
    }

    /// The body of the same request with a simpler prompt, if there is one.
    pub(super) fn simplified(&self, body: &[u8]) -> Option<Bytes> {
        let prompt = simplified::prompt(&self.question.prompt)?;
        self.composer.rephrase(body, Some(&prompt), simplified::BOUNDS)
    }

    /// What a last resort has to say, if it has.
    pub(super) fn answer(&self, resort: &Resort) -> Option<Response<Bytes>> {
        let strategy = match &resort.kind {
            Kind::Cached(_) => Strategy::CachedResponse,
            Kind::Static(_) => Strategy::StaticResponse,
            Kind::Emergency(_) => Strategy::Emergency,
            Kind::Simplified => return None,
        };
        let mut answered = Answered::new(&resort.name, strategy);
        let write = |text: &str| self.composer.answer(&self.question, text, SystemTime::now());
        let mut response = match &resort.kind {
            Kind::Cached(cache) => {
                let found = cache.find(self.key(), clock::now())?;
                answered.similarity = Some(found.similarity);
                let mut response = write(found.text());
                response.headers_mut().insert(AGE, found.age.as_secs().into());
                response
            }
            Kind::Static(answers) => {
                let kind = PromptKind::of(&self.question.prompt);
                answered.prompt_kind = Some(kind);
                write(answers.text(kind))
            }
            Kind::Emergency(text) => write(text),
            Kind::Simplified => return None,
        };
        response.extensions_mut().insert(answered);
        Some(response)
    }
}

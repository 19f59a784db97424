use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AGE;
use http::{Request, Response, Uri};
use tidegate_core::{AnswerSynthesizer, ChatQuestion};

use super::answered::{FallbackInfo, FallbackKind};
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

/// What a caller asked, kept as it came: most of it is never read.
pub(super) struct Asked {
    composer: Arc<dyn AnswerSynthesizer>,
    uri: Uri,
    pub(super) body: Bytes,
    /// On whose behalf.
    scope: u64,
}

/// A request whose answer can be composed.
pub(super) struct Composable {
    composer: Arc<dyn AnswerSynthesizer>,
    question: ChatQuestion,
    /// On whose behalf it is asked, and in which context.
    scope: (u64, u64),
}

impl Asked {
    /// `None` if there is nobody here to read it, or it is not all here.
    pub(super) fn of(request: &Request<Payload>, settings: &Settings) -> Option<Self> {
        Some(Self {
            composer: Arc::clone(settings.composer.as_ref()?),
            uri: request.uri().clone(),
            body: request.body().bytes()?.clone(),
            scope: settings.scope.digest(request),
        })
    }

    /// `None` if it is not understood.
    pub(super) fn read(self) -> Option<Composable> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = self.uri;
        let question = self.composer.question(&head, &self.body)?;
        let scope = (self.scope, question.context);
        Some(Composable { composer: self.composer, question, scope })
    }
}

impl Composable {
    /// `None` if nobody here understands it.
    pub(super) fn of(request: &Request<Payload>, settings: &Settings) -> Option<Self> {
        Asked::of(request, settings)?.read()
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
            Kind::Cached(_) => FallbackKind::CachedResponse,
            Kind::Static(_) => FallbackKind::StaticResponse,
            Kind::Emergency(_) => FallbackKind::Emergency,
            Kind::Simplified => return None,
        };
        let mut answered = FallbackInfo::new(&resort.name, strategy);
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

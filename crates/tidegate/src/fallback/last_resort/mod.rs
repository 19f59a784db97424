mod cache;
mod simplified;
mod static_answers;

pub use cache::AnswerCache;
pub use static_answers::{PromptKind, StaticAnswers};

use std::hash::Hash;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AGE;
use http::{Request, Response, Uri};
use tidegate_core::{AnswerRecorder, AnswerSynthesizer, ChatQuestion};

use self::cache::CacheKey;
use super::info::{FallbackInfo, FallbackKind};
use super::settings::FallbackSettings;
use super::statistics::TargetCounters;
use crate::key::{KeyBy, KeyId, Tenant, hasher};
use crate::metrics::TargetMetrics;
use crate::{Payload, clock};

/// A last resort: produces a response when all targets have failed.
#[derive(Clone, Debug)]
pub(super) struct LastResort {
    pub(super) name: Arc<str>,
    pub(super) counters: Arc<TargetCounters>,
    pub(super) kind: LastResortKind,
}

#[derive(Clone, Debug)]
pub(super) enum LastResortKind {
    Cached(AnswerCache),
    Simplified,
    Static(Arc<StaticAnswers>),
    Emergency(Arc<str>),
}

/// The name of a last resort with one text.
pub(super) const EMERGENCY: &str = "@emergency";

impl LastResort {
    pub(super) fn new(kind: LastResortKind) -> Self {
        let name = match kind {
            LastResortKind::Cached(_) => "@cached",
            LastResortKind::Simplified => "@simplified",
            LastResortKind::Static(_) => "@static",
            LastResortKind::Emergency(_) => EMERGENCY,
        };
        Self { name: name.into(), counters: Arc::default(), kind }
    }
}

impl LastResortKind {
    /// How it obtains its response.
    pub(super) const fn fallback_kind(&self) -> FallbackKind {
        match self {
            Self::Cached(_) => FallbackKind::CachedResponse,
            Self::Simplified => FallbackKind::SimplifiedPrompt,
            Self::Static(_) => FallbackKind::StaticResponse,
            Self::Emergency(_) => FallbackKind::Emergency,
        }
    }
}

/// The request of the caller, kept unparsed: most requests are never parsed.
pub(super) struct RawRequest {
    composer: Arc<dyn AnswerSynthesizer>,
    uri: Uri,
    pub(super) body: Bytes,
    /// The cache scope of the caller; `None` if nothing is cached for it.
    scope: Option<u64>,
}

/// A parsed request, for which a response can be composed.
pub(super) struct ParsedRequest {
    composer: Arc<dyn AnswerSynthesizer>,
    question: ChatQuestion,
    /// The cache scope of the caller, and the digest of the context of the prompt; `None` if nothing is
    /// cached for it.
    scope: Option<(u64, u64)>,
}

impl RawRequest {
    /// `None` without a composer, or if the body is not complete.
    pub(super) fn new(request: &Request<Payload>, settings: &FallbackSettings) -> Option<Self> {
        Some(Self {
            composer: Arc::clone(settings.hooks.composer.as_ref()?),
            uri: request.uri().clone(),
            body: request.body().bytes()?.clone(),
            scope: cache_scope(settings.cache_by.as_ref(), request),
        })
    }

    /// Whether answers are cached for the caller.
    pub(super) fn is_cached(&self) -> bool {
        self.scope.is_some()
    }

    /// `None` if the composer cannot parse it.
    pub(super) fn parse(self) -> Option<ParsedRequest> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.uri = self.uri;
        let question = self.composer.question(&head, &self.body)?;
        let scope = self.scope.map(|scope| (scope, question.context));
        Some(ParsedRequest { composer: self.composer, question, scope })
    }
}

impl ParsedRequest {
    /// `None` without a composer, or if the composer cannot parse the request.
    pub(super) fn new(request: &Request<Payload>, settings: &FallbackSettings) -> Option<Self> {
        RawRequest::new(request, settings)?.parse()
    }

    /// `None` if nothing is cached for the caller.
    fn key(&self) -> Option<CacheKey<'_>> {
        let scope = self.scope?;
        Some(CacheKey { scope, prompt: &self.question.prompt, limit: self.question.max_tokens })
    }

    /// The body of the same request with a simplified prompt; `None` if it cannot be simplified.
    pub(super) fn with_simplified_prompt(&self, body: &[u8]) -> Option<Bytes> {
        let prompt = simplified::simplify(&self.question.prompt)?;
        self.composer.rewrite_request(body, Some(&prompt), simplified::LIMITS)
    }

    /// The response of a last resort at this position of the chain, if it has one.
    pub(super) fn response_from(&self, last_resort: &LastResort, position: usize) -> Option<Response<Bytes>> {
        let info = FallbackInfo::new(&last_resort.name, position, last_resort.kind.fallback_kind());
        let respond = |text: &str| self.composer.synthesize(&self.question, text, SystemTime::now());
        let (mut response, info) = match &last_resort.kind {
            LastResortKind::Cached(cache) => {
                let hit = cache.find(self.key()?, clock::now());
                TargetMetrics::of(&last_resort.name).record_cache_lookup(hit.is_some());
                let hit = hit?;
                let mut response = respond(hit.text());
                response.headers_mut().insert(AGE, hit.age.as_secs().into());
                (response, FallbackInfo { similarity: Some(hit.similarity), ..info })
            }
            LastResortKind::Static(answers) => {
                let kind = PromptKind::of(&self.question.prompt);
                (respond(answers.text(kind)), FallbackInfo { prompt_kind: Some(kind), ..info })
            }
            LastResortKind::Emergency(text) => (respond(text), info),
            LastResortKind::Simplified => return None,
        };
        info.mark(&mut response);
        Some(response)
    }
}

/// Records an answer as it passes, and stores it in the cache when it ended successfully.
pub(super) struct Recording {
    cache: AnswerCache,
    request: RawRequest,
    recorder: Box<dyn AnswerRecorder>,
}

/// The longest request for which the answer is cached: 512 KiB. Parsing a longer one for its prompt would
/// occupy a thread for longer than the cached answer is worth. Most such requests hold images, or a
/// conversation that is not repeated word by word.
const MAX_REQUEST: usize = 512 * 1024;

impl Recording {
    /// `None` if the request is too long for the answer to be cached, or nothing is cached for its caller.
    pub(super) fn new(
        cache: AnswerCache,
        request: RawRequest,
        recorder: Box<dyn AnswerRecorder>,
    ) -> Option<Self> {
        (request.is_cached() && request.body.len() <= MAX_REQUEST).then_some(Self {
            cache,
            request,
            recorder,
        })
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.recorder.push(bytes);
    }

    /// The request is parsed here, and not before its answer is complete.
    pub(super) fn finish(mut self) {
        if let Some(text) = self.recorder.finish()
            && let Some(parsed) = self.request.parse()
            && let Some(key) = parsed.key()
        {
            self.cache.insert(key, &text, clock::now());
        }
    }
}

/// A request extension: no answer to this request is stored in an [`AnswerCache`](super::AnswerCache), and
/// none is taken from it. For requests of callers that cannot be distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncached;

/// A digest that is the same for all callers that share answers: those with the same key, by default those
/// with the same credential and the same tenant. `None` if the request is [`Uncached`] or has no key.
fn cache_scope<B: 'static>(key: Option<&KeyBy>, request: &Request<B>) -> Option<u64> {
    if request.extensions().get::<Uncached>().is_some() {
        return None;
    }
    let mut hasher = hasher();
    let key = match key {
        Some(key) => key.key(request, hasher),
        None => {
            request.extensions().get::<Tenant>().hash(&mut hasher);
            KeyBy::credential().key(request, hasher)
        }
    };
    key.map(KeyId::number)
}

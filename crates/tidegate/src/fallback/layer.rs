use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_core::{AnswerSynthesizer, ModelCatalog, StreamContinuator};
use tower_layer::Layer;

use super::cache::AnswerCache;
use super::fixed::StaticAnswers;
use super::policy::Policy;
use super::resort::{Kind, Resort};
use super::scope::Scope;
use super::target::Target;
use super::{AsTarget, Fallback, Handle};
use crate::{KeyBy, Payload};

/// Asks somebody else when the first target cannot answer; see the [module page](crate::fallback).
#[derive(Clone, Debug)]
pub struct FallbackLayer {
    handle: Handle,
    settings: Arc<Settings>,
}

/// What the user sets, apart from the targets.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    pub(super) body_cap: usize,
    pub(super) continues: Option<Arc<dyn StreamContinuator>>,
    pub(super) composer: Option<Arc<dyn AnswerSynthesizer>>,
    pub(super) models: Option<Arc<dyn ModelCatalog>>,
    pub(super) scope: Scope,
    pub(super) random: Arc<Mutex<fastrand::Rng>>,
}

impl Default for FallbackLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl FallbackLayer {
    /// A chain of nobody but the service it is put around.
    #[must_use]
    pub fn new() -> Self {
        let settings = Settings {
            policy: Policy::default(),
            body_cap: Payload::DEFAULT_CAP,
            continues: None,
            composer: default_composer(),
            models: default_models(),
            scope: Scope::default(),
            random: Arc::default(),
        };
        Self { handle: Handle::default(), settings: Arc::new(settings) }
    }

    /// Asks `service` next, under the name of `target`: usually another [`Resilience`](crate::stack::Resilience).
    ///
    /// Time for those who come later is kept by the retry of a target ([`RetryLayer::reserve_for_fallback`](crate::RetryLayer::reserve_for_fallback));
    /// one without may use up all there is.
    #[must_use]
    pub fn then(self, target: &str, service: impl AsTarget) -> Self {
        let target = Target::new(target, service);
        Self { handle: self.handle.with_target(target), ..self }
    }

    /// When no target has answered: the answer that was given before to the same or a like question of the same
    /// caller. Good answers are remembered in `cache` as they pass.
    ///
    /// Last resorts come after all targets, in the order in which they are named. They speak the caller's dialect, plain or
    /// streamed, and are marked by [`FallbackInfo`](super::FallbackInfo); a cached answer tells its age in the header of that name.
    #[must_use]
    pub fn then_cached(self, cache: AnswerCache) -> Self {
        self.then_resort(Kind::Cached(cache))
    }

    /// When no target has answered: asks all of them once more with the first lines of the prompt.
    #[must_use]
    pub fn then_simplified(self) -> Self {
        self.then_resort(Kind::Simplified)
    }

    /// When no target has answered: a text by the kind of the prompt.
    #[must_use]
    pub fn then_static(self) -> Self {
        self.then_static_answers(StaticAnswers::new())
    }

    /// The same with texts of one's own.
    #[must_use]
    pub fn then_static_answers(self, answers: StaticAnswers) -> Self {
        self.then_resort(Kind::Static(Arc::new(answers)))
    }

    /// When nothing else is left: this text, whatever the prompt.
    #[must_use]
    pub fn then_emergency(self, text: &str) -> Self {
        self.then_resort(Kind::Emergency(text.into()))
    }

    fn then_resort(self, kind: Kind) -> Self {
        Self { handle: self.handle.with_resort(Resort::new(kind)), ..self }
    }

    /// Who understands requests and composes the answers of last resorts. By default the `Composer` of the providers; a
    /// request that it does not understand ends as if there were no last resort.
    #[must_use]
    pub fn composer(self, composer: impl AnswerSynthesizer) -> Self {
        self.set(|settings| settings.composer = Some(Arc::new(composer)))
    }

    /// Who knows what the models behind the targets can take. By default the `ModelTable` of the providers, which can be
    /// extended; an empty one lets every target be asked in its turn.
    ///
    /// A target after the first is passed over if its model, known by the name of the target, is too small for the
    /// request or calls no tools, sees no pictures, or keeps to no schema where the request wants that. If that leaves
    /// nobody, the answer or error of the last one who was asked goes through: the unfit could only refuse, and their
    /// refusal would say less about what is wrong.
    #[must_use]
    pub fn models(self, models: impl ModelCatalog) -> Self {
        self.set(|settings| settings.models = Some(Arc::new(models)))
    }

    /// Whose questions may be answered from the cache by each other's answers: those of the same key. By default those of
    /// the same credential and the same [`Tenant`](crate::Tenant).
    #[must_use]
    pub fn cache_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.scope = Scope::By(key))
    }

    /// Also goes on when the prompt does not fit the model, to one that is larger, or may be as far as
    /// [`models`](Self::models) are known. Off by default.
    #[must_use]
    pub fn on_context_length(self, act: bool) -> Self {
        self.set(|settings| settings.policy.on_context_length = act)
    }

    /// Also goes on when the provider's content filter refuses. Off by default.
    #[must_use]
    pub fn on_content_filter(self, act: bool) -> Self {
        self.set(|settings| settings.policy.on_content_filter = act)
    }

    /// When a stream breaks after its first token, asks the next target to go on from the text that was delivered,
    /// and makes one stream of the two. Off by default.
    ///
    /// Never across a tool call; see `StreamContinuation` of the providers for what is continued, and how. Such a
    /// stream passes event by event: a part of an event waits for the rest of it.
    #[must_use]
    pub fn continue_streams(self, continues: impl StreamContinuator) -> Self {
        self.set(|settings| settings.continues = Some(Arc::new(continues)))
    }

    /// Request bodies up to so many bytes are kept for the other targets; 32 MiB by default.
    #[must_use]
    pub fn body_cap(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_cap = bytes)
    }

    /// Draws from this seed by how much a wait for a target grows, so that a run can be repeated.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// The chain shared by the services of this layer.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl Settings {
    /// Uniform in 0..1.
    pub(super) fn random(&self) -> f64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        Fallback::new(inner, self.handle.clone(), Arc::clone(&self.settings))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("policy", &self.policy)
            .field("body_cap", &self.body_cap)
            .field("continues", &self.continues.is_some())
            .field("scope", &self.scope)
            .finish()
    }
}

#[cfg(feature = "providers")]
fn default_composer() -> Option<Arc<dyn AnswerSynthesizer>> {
    Some(Arc::new(tidegate_providers::compose::Composer))
}

#[cfg(not(feature = "providers"))]
fn default_composer() -> Option<Arc<dyn AnswerSynthesizer>> {
    None
}

#[cfg(feature = "providers")]
fn default_models() -> Option<Arc<dyn ModelCatalog>> {
    Some(Arc::new(tidegate_providers::ModelTable::new()))
}

#[cfg(not(feature = "providers"))]
fn default_models() -> Option<Arc<dyn ModelCatalog>> {
    None
}

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_core::{AnswerSynthesizer, ModelCatalog, StreamContinuator};
use tower_layer::Layer;

use super::last_resort::{AnswerCache, LastResort, LastResortKind, StaticAnswers};
use super::settings::{FallbackSettings, Settings};
use super::target::Target;
use super::{AsTarget, Fallback, Handle};
use crate::group::Group;
use crate::hedge::HedgeLayer;
use crate::settings::ConfigError;
use crate::{KeyBy, defaults};

/// Sends a call to the next target when the current target fails; see the [module page](crate::fallback).
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone, Debug)]
#[doc(alias("FallbackStrategy", "IntelligentFallbackManager"))]
pub struct FallbackLayer {
    handle: Handle,
    settings: Arc<FallbackSettings>,
}

impl Default for FallbackLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl FallbackLayer {
    /// A chain without further targets: only the wrapped service is called.
    pub fn new() -> Self {
        Self::of(Settings::default())
    }

    /// A chain without further targets, with these settings.
    ///
    /// # Errors
    ///
    /// `continue_streams` is set and the feature `translate` is off.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        settings.check()?;
        let continuator = if settings.continue_streams { defaults::continuator() } else { None };
        Ok(Self::of(settings).set(|settings| settings.hooks.continuator = continuator))
    }

    fn of(settings: Settings) -> Self {
        Self { handle: Handle::default(), settings: Arc::new(settings.into()) }
    }
}

/// The targets.
impl FallbackLayer {
    /// Adds `service` as the next target, named `target`: usually another
    /// [`Resilience`](crate::stack::Resilience).
    ///
    /// All targets get the same request. If `target` is `provider/model` of a [built-in
    /// provider](crate::chain::Providers), a request to the host of another known provider is translated and
    /// addressed to this one: with its URL, its key from the environment, and the model. Without that key the
    /// target rejects the request with E1002. A request to any other host, or for a target of any other name,
    /// is not changed: `service` has to address it itself, by its URL, its key or its model. Without the
    /// features `config` and `translate` no request is changed.
    ///
    /// With these features, [`ReqwestService`](crate::ReqwestService) rejects a request that such a service
    /// has not addressed, with E1001: it has the key of the caller, and would be sent to the known provider
    /// that the caller named, with the model of the caller. Other clients do not check that.
    /// [`then_addressed`](Self::then_addressed) allows it, for a target that differs from the first in the
    /// client alone.
    ///
    /// The retry of a target reserves time for the targets after it
    /// ([`RetryLayer::reserve_for_fallback`](crate::RetryLayer::reserve_for_fallback)). A target without such
    /// a reservation may use up all of the deadline.
    #[doc(alias("AlternativeModelFallback", "add_strategy", "alternative_models"))]
    pub fn then(self, target: &str, service: impl AsTarget) -> Self {
        #[cfg(all(feature = "config", feature = "translate"))]
        if let Some(address) = crate::chain::built_in_address(target) {
            let output_cap = Some(address.output_cap());
            let new = Target::new(target, crate::chain::named_target(service, address, false));
            let models = [super::TargetModel { name: Arc::clone(&new.name), output_cap }].into();
            return self.then_target(Target { models, ..new });
        }
        #[cfg(all(feature = "config", feature = "translate", feature = "reqwest"))]
        let service = {
            let name = Arc::from(target);
            tower::util::MapRequest::new(service, move |request| {
                crate::chain::mark_unaddressed(request, &name)
            })
        };
        self.then_addressed(target, service)
    }

    /// Adds `service` as the next target, which addresses each request itself, whatever the name of the
    /// target: it sets the URL, the key and the model.
    pub fn then_addressed(self, target: &str, service: impl AsTarget) -> Self {
        self.then_target(Target::new(target, service))
    }

    fn then_target(self, target: Target) -> Self {
        Self { handle: self.handle.with_target(target), ..self }
    }

    /// Adds a group of services as the next target, with its name. The target is skipped only if none of its
    /// members can take the request; see [`models`](Self::models).
    pub fn then_group<S>(self, group: Group<S>) -> Self
    where
        S: AsTarget,
        Group<S>: AsTarget,
    {
        let (name, models) = (Arc::clone(group.name()), group.models_of_members().collect());
        let target = match group.only_member() {
            Some(member) => Target::new(&name, member.clone()),
            None => Target::new(&name, group),
        };
        self.then_target(Target { models, is_group: true, ..target })
    }

    /// Adds groups like [`then_group`](Self::then_group), before all targets that were added.
    #[cfg(all(feature = "config", feature = "translate"))]
    pub(crate) fn groups_first<S>(self, groups: impl Iterator<Item = Group<S>>) -> Self
    where
        S: AsTarget,
        Group<S>: AsTarget,
    {
        let groups = groups.fold(Self::new(), Self::then_group);
        Self { handle: self.handle.with_targets_first(groups.handle.targets()), ..self }
    }

    /// The capabilities of the models behind the targets. The default is the `ModelTable` of the providers,
    /// which can be extended; with an empty table no target is skipped.
    ///
    /// A target after the first is skipped if its model, known by the name of the target, has a context that
    /// is too small for the request, or does not support tools, images or JSON schemas that the request uses.
    /// If no target is left, the caller gets the response or error of a target that was called: the skipped
    /// targets could only reject the request, and their rejections would be less informative.
    pub fn models(self, models: impl ModelCatalog) -> Self {
        self.set(|settings| settings.hooks.models = Some(Arc::new(models)))
    }

    /// The capabilities of the models.
    #[cfg(all(feature = "config", feature = "translate"))]
    pub(crate) fn model_catalog(&self) -> Option<Arc<dyn ModelCatalog>> {
        self.settings.hooks.models.clone()
    }

    /// Sends a request to the next target that can take it at once, when its first token is late, and returns
    /// the response that is first; if there is no such target, to the same one. See [`hedge`](crate::hedge).
    /// Off by default.
    ///
    /// Each target has times of its own, under its name. The first target has the name of the layer.
    pub fn hedge(self, hedge: HedgeLayer) -> Self {
        Self { handle: self.handle.with_hedge(&hedge), ..self }
    }
}

/// The last resorts.
impl FallbackLayer {
    /// Last resort: the stored answer to the same or a similar prompt of the same caller. Successful answers
    /// are recorded in `cache` as they pass.
    ///
    /// Last resorts follow after all targets, in the order in which they are added. They respond in the
    /// caller's dialect, buffered or streamed, and are marked with [`FallbackInfo`](super::FallbackInfo). A
    /// cached answer has its age in the `Age` header.
    #[doc(alias = "CachedResponseFallback")]
    pub fn then_cached(self, cache: AnswerCache) -> Self {
        self.then_last_resort(LastResortKind::Cached(cache))
    }

    /// Requests with the same key share cached answers. By default the key is the credential together with
    /// the [`Tenant`](crate::Tenant).
    pub fn cache_by(self, key: KeyBy) -> Self {
        self.set(|settings| settings.cache_by = Some(key))
    }

    /// Last resort: calls the targets once more with the first lines of the prompt, up to three of those of
    /// at most 100 characters, and 200 characters in all.
    ///
    /// The answer is limited to 50 tokens. A temperature above 0.3 is lowered to it, thinking is removed, and
    /// a higher reasoning effort is lowered to `low`. Skipped are targets whose wait is not over, that failed
    /// because of their account, or whose model is known not to support the request. A prompt that this does
    /// not change is not sent again.
    #[doc(alias = "SimplifiedPromptFallback")]
    pub fn then_simplified(self) -> Self {
        self.then_last_resort(LastResortKind::Simplified)
    }

    /// Last resort: a fixed text, chosen by the kind of the prompt.
    #[doc(alias = "StaticResponseFallback")]
    pub fn then_static(self) -> Self {
        self.then_static_answers(StaticAnswers::new())
    }

    /// Last resort: a fixed text, chosen by the kind of the prompt from `answers`.
    pub fn then_static_answers(self, answers: StaticAnswers) -> Self {
        self.then_last_resort(LastResortKind::Static(Arc::new(answers)))
    }

    /// Last resort: this text, whatever the prompt.
    #[doc(alias = "emergency_response")]
    pub fn then_emergency(self, text: &str) -> Self {
        self.then_last_resort(LastResortKind::Emergency(text.into()))
    }

    fn then_last_resort(self, kind: LastResortKind) -> Self {
        Self { handle: self.handle.with_last_resort(LastResort::new(kind)), ..self }
    }

    /// Parses requests and composes the responses of the last resorts. The default is the `Composer` of the
    /// translators. A request that the composer cannot parse ends as if there were no last resort.
    pub fn composer(self, composer: impl AnswerSynthesizer) -> Self {
        self.set(|settings| settings.hooks.composer = Some(Arc::new(composer)))
    }
}

/// When it acts.
impl FallbackLayer {
    /// Also falls back when the prompt does not fit the model, to a target with a larger context, or with a
    /// context that is unknown to [`models`](Self::models). Off by default.
    pub fn on_context_length(self, enabled: bool) -> Self {
        self.set(|settings| settings.on_context_length = enabled)
    }

    /// Also falls back when the provider's content filter rejects the request. Off by default.
    pub fn on_content_filter(self, enabled: bool) -> Self {
        self.set(|settings| settings.on_content_filter = enabled)
    }

    /// When a stream breaks after its first token, calls the next target to continue from the text that was
    /// delivered, and splices both into one stream. Off by default.
    ///
    /// A stream is never continued across a tool call; `StreamContinuation` of the translators describes what
    /// is continued, and how. Such a stream passes event by event: part of an event is held back until the
    /// rest of it arrives.
    pub fn continue_streams(self, continuator: impl StreamContinuator) -> Self {
        self.set(|settings| {
            settings.continue_streams = true;
            settings.hooks.continuator = Some(Arc::new(continuator));
        })
    }

    /// The longest time that a call waits while all targets are cooling down, over all of its waits: as long
    /// as its deadline allows by default, and no wait at all for [`Duration::ZERO`].
    pub fn max_wait(self, max_wait: Duration) -> Self {
        self.set(|settings| settings.max_wait = Some(max_wait))
    }

    /// Request bodies of up to this many bytes are kept for the other targets; 32 MiB by default.
    pub fn body_cap(self, bytes: usize) -> Self {
        self.set(|settings| settings.body_cap = bytes)
    }

    /// Seeds the jitter of the wait for a target, so that a run can be repeated.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|settings| settings.hooks.random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }
}

/// The statistics.
impl FallbackLayer {
    /// Each target and last resort shares the statistics of that of its name in `other`: for a chain that
    /// replaces another one while the program runs. Call it after the targets are added.
    pub fn statistics_of(self, other: &Handle) -> Self {
        Self { handle: self.handle.with_statistics_of(other), ..self }
    }

    /// The handle of the chain that the services of this layer share.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.to_hand_out()
    }

    fn set(mut self, change: impl FnOnce(&mut FallbackSettings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        let chain = if self.settings.enabled { self.handle.clone() } else { self.handle.without_fallbacks() };
        Fallback::new(inner, chain, Arc::clone(&self.settings))
    }
}

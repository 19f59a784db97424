use std::fmt;
use std::sync::Arc;

use tidegate_core::Continue;
use tower_layer::Layer;

use super::policy::Policy;
use super::target::Target;
use super::{AsTarget, Fallback, Handle};
use crate::Payload;

/// Asks somebody else when the first target cannot answer; see the [module page](crate::fallback).
#[derive(Clone, Debug)]
pub struct FallbackLayer {
    handle: Handle,
    settings: Settings,
}

/// What the user sets, apart from the targets.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) policy: Policy,
    pub(super) body_cap: usize,
    pub(super) continues: Option<Arc<dyn Continue>>,
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
        let settings =
            Settings { policy: Policy::default(), body_cap: Payload::DEFAULT_CAP, continues: None };
        Self { handle: Handle::default(), settings }
    }

    /// Asks `service` next, under the name of `target`: usually another [`Resilience`](crate::stack::Resilience).
    #[must_use]
    pub fn then(self, target: &str, service: impl AsTarget) -> Self {
        let target = Target::new(target, service);
        let handle = Handle(self.handle.0.iter().cloned().chain([target]).collect());
        Self { handle, ..self }
    }

    /// Also goes on when the prompt does not fit the model, to one that may be larger. Off by default.
    #[must_use]
    pub fn on_context_length(mut self, act: bool) -> Self {
        self.settings.policy.on_context_length = act;
        self
    }

    /// Also goes on when the provider's content filter refuses. Off by default.
    #[must_use]
    pub fn on_content_filter(mut self, act: bool) -> Self {
        self.settings.policy.on_content_filter = act;
        self
    }

    /// When a stream breaks after its first token, asks the next target to go on from the text that was delivered,
    /// and makes one stream of the two. Off by default.
    ///
    /// Never across a tool call; see `StreamContinuation` of the providers for what is continued, and how. Such a
    /// stream passes event by event: a part of an event waits for the rest of it.
    #[must_use]
    pub fn continue_streams(mut self, continues: impl Continue) -> Self {
        self.settings.continues = Some(Arc::new(continues));
        self
    }

    /// Request bodies up to so many bytes are kept for the other targets; 32 MiB by default.
    #[must_use]
    pub fn body_cap(mut self, bytes: usize) -> Self {
        self.settings.body_cap = bytes;
        self
    }

    /// The chain shared by the services of this layer.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        Fallback::new(inner, self.handle.clone(), self.settings.clone())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("policy", &self.policy)
            .field("body_cap", &self.body_cap)
            .field("continues", &self.continues.is_some())
            .finish()
    }
}

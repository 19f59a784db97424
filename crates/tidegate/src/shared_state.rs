use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// What a layer, its services and their clones share: a name, what the user set, and what has come of it.
#[derive(Debug)]
pub(crate) struct SharedState<S, T>(Arc<SharedInner<S, T>>);

#[derive(Debug)]
struct SharedInner<S, T> {
    name: OnceLock<Box<str>>,
    settings: S,
    state: T,
}

impl<S: Clone, T: for<'a> From<&'a S>> SharedState<S, T> {
    /// A beginning without a past.
    pub(crate) fn new(settings: S) -> Self {
        let state = T::from(&settings);
        Self(Arc::new(SharedInner { name: OnceLock::new(), settings, state }))
    }

    /// Another of the same name, with a past of its own.
    pub(crate) fn fresh(&self, change: impl FnOnce(&mut S)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        let fresh = Self::new(settings);
        if let Some(name) = self.0.name.get() {
            fresh.name(name);
        }
        fresh
    }
}

impl<S, T> SharedState<S, T> {
    /// What the user set.
    pub(crate) fn settings(&self) -> &S {
        &self.0.settings
    }

    /// Whether anybody but the one who asks holds it.
    #[allow(dead_code, reason = "asked of what is kept by key")]
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Gives the name in events; the first one given holds.
    pub(crate) fn name(&self, name: &str) {
        let _ = self.0.name.set(name.into());
    }

    /// The name in events, or nothing.
    pub(crate) fn target(&self) -> &str {
        self.0.name.get().map_or("", |name| name)
    }
}

impl<S, T> Clone for SharedState<S, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The state is what one has it for.
impl<S, T> Deref for SharedState<S, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.state
    }
}

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// The state that a layer, its services and their clones share: a name, the settings, and the state that is
/// made from them.
#[derive(Debug)]
pub(crate) struct LayerState<S, T>(Arc<LayerStateInner<S, T>>);

/// `state` is the first field, so that it is adjacent to the reference count: a gate changes both for every call.
#[derive(Debug)]
#[repr(C)]
struct LayerStateInner<S, T> {
    state: T,
    name: OnceLock<Box<str>>,
    settings: S,
}

impl<S: Clone, T: for<'a> From<&'a S>> LayerState<S, T> {
    /// A new state for these settings.
    pub(crate) fn new(settings: S) -> Self {
        let state = T::from(&settings);
        Self(Arc::new(LayerStateInner { state, name: OnceLock::new(), settings }))
    }

    /// A new state of the same name, with changed settings.
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

impl<S, T> LayerState<S, T> {
    /// The settings.
    pub(crate) fn settings(&self) -> &S {
        &self.0.settings
    }

    /// Whether there is another reference to it.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Sets the name in events; the first name set is kept.
    pub(crate) fn name(&self, name: &str) {
        let _ = self.0.name.set(name.into());
    }

    /// The name in events, or an empty string.
    pub(crate) fn target(&self) -> &str {
        self.0.name.get().map_or("", |name| name)
    }
}

impl<S, T> Clone for LayerState<S, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// Dereferences to the state.
impl<S, T> Deref for LayerState<S, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.state
    }
}

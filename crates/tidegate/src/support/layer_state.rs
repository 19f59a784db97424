use std::ops::Deref;
use std::sync::OnceLock;

use crate::key::KeyId;
use crate::metrics::{TargetMetrics, TargetMetricsCell};
use crate::shared::{Shared, WeakShared};

/// The state that a layer, its services and their clones share: a name, the settings, and the state that is
/// made from them.
#[derive(Debug)]
pub(crate) struct LayerState<S, T>(Shared<LayerStateInner<S, T>>);

#[derive(Debug)]
struct LayerStateInner<S, T> {
    name: OnceLock<LayerName>,
    /// The key, if this is the state of one.
    key: Option<KeyId>,
    metrics: TargetMetricsCell,
    settings: S,
    state: T,
}

#[derive(Clone, Debug)]
struct LayerName {
    text: Box<str>,
    /// A stack has set it, and the layer has none.
    is_of_stack: bool,
}

impl<S: Clone, T: for<'a> From<&'a S>> LayerState<S, T> {
    /// A new state for these settings.
    pub(crate) fn new(settings: S) -> Self {
        Self(Shared::new(LayerStateInner::new(settings, OnceLock::new(), None)))
    }

    /// A new state of the same name, with changed settings.
    pub(crate) fn fresh(&self, change: impl FnOnce(&mut S)) -> Self {
        Self(Shared::new(self.0.changed(change)))
    }

    /// A new state of the same name for a key, with changed settings.
    pub(crate) fn fresh_for_key(&self, key: Option<KeyId>, change: impl FnOnce(&mut S)) -> Self {
        Self(Shared::new(LayerStateInner { key, ..self.0.changed(change) }))
    }

    /// A new state of the same name in the place of this one, with changed settings: the
    /// [handles](Self::to_hand_out) of the layer follow. The name of a stack is not that of the next one.
    pub(crate) fn replace(&self, change: impl FnOnce(&mut S)) -> Self {
        let mut changed = self.0.changed(change);
        if self.0.name.get().is_some_and(|name| name.is_of_stack) {
            changed.name = OnceLock::new();
        }
        Self(self.0.replace(changed))
    }
}

impl<S: Clone, T: for<'a> From<&'a S>> LayerStateInner<S, T> {
    fn new(settings: S, name: OnceLock<LayerName>, key: Option<KeyId>) -> Self {
        let state = T::from(&settings);
        Self { name, key, metrics: TargetMetricsCell::default(), settings, state }
    }

    fn changed(&self, change: impl FnOnce(&mut S)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        Self::new(settings, self.name.clone(), self.key)
    }
}

impl<S, T> LayerState<S, T> {
    /// The settings.
    pub(crate) fn settings(&self) -> &S {
        &self.0.settings
    }

    /// The state for a handle that is given out, which follows its layer through the setters.
    pub(crate) fn to_hand_out(&self) -> Self {
        Self(self.0.follower())
    }

    /// The state for a guard, which stays with it.
    pub(crate) fn to_hold(&self) -> Self {
        Self(self.0.resolved())
    }

    /// The same state, for the guards of one thread.
    pub(crate) fn copy(&self) -> Self {
        Self(self.0.copy())
    }

    /// Whether there is another reference to it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    /// Sets the name in events; the first name set is kept.
    pub(crate) fn name(&self, name: &str) {
        let _ = self.0.name.set(LayerName { text: name.into(), is_of_stack: false });
    }

    /// Sets the name of a stack, unless there is a name.
    pub(crate) fn name_of_stack(&self, name: &str) {
        let _ = self.0.name.set(LayerName { text: name.into(), is_of_stack: true });
    }

    /// The name in events, or an empty string.
    pub(crate) fn target(&self) -> &str {
        self.0.name.get().map_or("", |name| &name.text)
    }

    /// The key, if this is the state of one.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.0.key
    }

    /// The metrics of this name.
    pub(crate) fn metrics(&self) -> TargetMetrics {
        self.0.metrics.get(self.target())
    }
}

/// A [`LayerState`] that does not keep the state alive.
#[derive(Debug)]
pub(crate) struct WeakLayerState<S, T>(WeakShared<LayerStateInner<S, T>>);

impl<S, T> LayerState<S, T> {
    pub(crate) fn downgrade(&self) -> WeakLayerState<S, T> {
        WeakLayerState(self.0.downgrade())
    }
}

impl<S, T> WeakLayerState<S, T> {
    /// The state, if it still exists.
    pub(crate) fn upgrade(&self) -> Option<LayerState<S, T>> {
        self.0.upgrade().map(LayerState)
    }
}

impl<S, T> Clone for LayerState<S, T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Dereferences to the state.
impl<S, T> Deref for LayerState<S, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.state
    }
}

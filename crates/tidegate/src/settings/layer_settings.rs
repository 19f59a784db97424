use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// All that a layer is made from: its settings, which a file can hold, and its hooks, which only a program
/// can set: closures, classifiers, listeners, seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerSettings<S, H> {
    pub(crate) settings: S,
    pub(crate) hooks: H,
}

impl<S, H: Default> From<S> for LayerSettings<S, H> {
    fn from(settings: S) -> Self {
        Self { settings, hooks: H::default() }
    }
}

/// Dereferences to the settings.
impl<S, H> Deref for LayerSettings<S, H> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.settings
    }
}

impl<S, H> DerefMut for LayerSettings<S, H> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.settings
    }
}

/// A closure, or a value of a trait that does not require `Debug`, among the hooks.
pub(crate) struct Hook<T: ?Sized>(pub(crate) Arc<T>);

impl<T: ?Sized> Clone for Hook<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: ?Sized> Deref for Hook<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: ?Sized> fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

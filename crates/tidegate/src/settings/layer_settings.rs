use std::ops::{Deref, DerefMut};

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

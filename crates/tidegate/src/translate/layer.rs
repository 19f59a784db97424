use std::sync::Arc;

use tidegate_core::Translator;
use tower_layer::Layer;

use super::Translate;
use super::settings::{Settings, TargetTranslator};

/// Calls a target in its own dialect; see the [module page](crate::translate).
#[must_use = "a layer does nothing until it wraps a service"]
#[derive(Clone)]
pub struct TranslateLayer {
    settings: Settings,
}

impl TranslateLayer {
    /// Translates with `translator`, such as `ChatToMessages` of the translators.
    pub fn new(translator: impl Translator) -> Self {
        Self::of_target(None, translator)
    }

    /// Translates with `translator` for the target with this name.
    pub(crate) fn of_target(target: Option<Arc<str>>, translator: impl Translator) -> Self {
        let translator = Arc::new(TargetTranslator { target, translator });
        Self { settings: Settings { translator: Some(translator), ..Settings::default() } }
    }

    /// Translates nothing: for a target that uses the caller's dialect, among others that do not.
    pub fn disabled() -> Self {
        Self { settings: Settings::default() }
    }

    /// Request bodies of up to this many bytes are translated, longer ones are rejected with E1005; 32 MiB by
    /// default.
    pub fn body_cap(mut self, bytes: usize) -> Self {
        self.settings.body_cap = bytes;
        self
    }

    /// Buffered responses of up to this many bytes are translated, longer ones are errors; 32 MiB by default.
    /// Streams may be of any length, and each of their events as long as this.
    pub fn answer_cap(mut self, bytes: usize) -> Self {
        self.settings.answer_cap = bytes;
        self
    }
}

impl<S> Layer<S> for TranslateLayer {
    type Service = Translate<S>;

    fn layer(&self, inner: S) -> Translate<S> {
        Translate::new(inner, self.settings.clone())
    }
}

partial_debug!([] TranslateLayer, "TranslateLayer", settings);

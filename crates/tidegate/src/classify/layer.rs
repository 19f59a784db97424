use std::sync::Arc;

use tower_layer::Layer;

use super::wire::ClassifyWire;
use super::{Classify, StreamClocks};
use crate::Classifier;
use crate::attempt::NoGate;

/// Classifies each response; see the [module page](crate::classify).
#[derive(Clone)]
pub struct ClassifyLayer {
    classifier: Arc<dyn Classifier>,
    clocks: StreamClocks,
}

impl ClassifyLayer {
    /// Classifies with `classifier`; [`StatusClassifier`](crate::StatusClassifier) reads no body.
    #[must_use]
    pub fn new(classifier: impl Classifier) -> Self {
        Self::shared(Arc::new(classifier))
    }

    /// Classifies with a classifier that is shared with other layers.
    #[must_use]
    pub fn shared(classifier: Arc<dyn Classifier>) -> Self {
        Self { classifier, clocks: StreamClocks::new() }
    }

    /// The classifier of this layer.
    pub(crate) fn classifier(&self) -> &Arc<dyn Classifier> {
        &self.classifier
    }

    /// The wire of a stack.
    pub(crate) fn wire(&self) -> ClassifyWire {
        ClassifyWire::new(Arc::clone(&self.classifier), self.clocks)
    }

    /// The idle timeouts of streams.
    #[must_use]
    pub fn clocks(self, clocks: StreamClocks) -> Self {
        Self { clocks, ..self }
    }
}

impl<S> Layer<S> for ClassifyLayer {
    type Service = Classify<S>;

    fn layer(&self, inner: S) -> Classify<S> {
        Classify::with_wire(inner, NoGate, self.wire())
    }
}

partial_debug!([] ClassifyLayer, "ClassifyLayer", clocks);

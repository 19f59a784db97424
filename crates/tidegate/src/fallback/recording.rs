use bytes::Bytes;
use tidegate_core::Transcribe;

use super::cache::AnswerCache;
use super::resort::Composable;
use crate::clock;

/// Writes down an answer as it passes, and puts it into the cache when it has ended well.
pub(super) struct Recording {
    cache: AnswerCache,
    composable: Composable,
    transcript: Box<dyn Transcribe>,
}

impl Recording {
    pub(super) fn new(cache: AnswerCache, composable: Composable, transcript: Box<dyn Transcribe>) -> Self {
        Self { cache, composable, transcript }
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.transcript.push(bytes);
    }

    pub(super) fn finish(mut self) {
        if let Some(text) = self.transcript.finish() {
            self.cache.insert(self.composable.key(), &text, clock::now());
        }
    }
}

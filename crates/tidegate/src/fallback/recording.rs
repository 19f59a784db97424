use bytes::Bytes;
use tidegate_core::AnswerRecorder;

use super::cache::AnswerCache;
use super::resort::Asked;
use crate::clock;

/// Writes down an answer as it passes, and puts it into the cache when it has ended well.
pub(super) struct Recording {
    cache: AnswerCache,
    asked: Asked,
    transcript: Box<dyn AnswerRecorder>,
}

/// The answer to a longer request is not remembered: 512 KiB. It would have to be read for its question, which takes a
/// thread longer than the answer may ever be worth; there are pictures in most of them, or a conversation that nobody
/// will have again word by word.
const MAX_ASKED: usize = 512 * 1024;

impl Recording {
    /// `None` for an answer that is not going to be remembered.
    pub(super) fn new(cache: AnswerCache, asked: Asked, transcript: Box<dyn AnswerRecorder>) -> Option<Self> {
        (asked.body.len() <= MAX_ASKED).then_some(Self { cache, asked, transcript })
    }

    pub(super) fn push(&mut self, bytes: &Bytes) {
        self.transcript.push(bytes);
    }

    /// What was asked is read now, and not before there is an answer to it.
    pub(super) fn finish(mut self) {
        if let Some(text) = self.transcript.finish()
            && let Some(composable) = self.asked.read()
        {
            self.cache.insert(composable.key(), &text, clock::now());
        }
    }
}

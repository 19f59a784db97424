use bytes::Bytes;
use tidegate_core::AnswerRecorder;

use super::{AnswerCache, RawRequest};
use crate::clock;

/// Records an answer as it passes, and stores it in the cache when it ended successfully.
pub(crate) struct Recording {
    cache: AnswerCache,
    request: RawRequest,
    recorder: Box<dyn AnswerRecorder>,
}

/// The longest request for which the answer is cached: 512 KiB. Parsing a longer one for its prompt would
/// occupy a thread for longer than the cached answer is worth. Most such requests hold images, or a
/// conversation that is not repeated word by word.
const MAX_REQUEST: usize = 512 * 1024;

impl Recording {
    /// `None` if the request is too long for the answer to be cached, or nothing is cached for its caller.
    pub(crate) fn new(
        cache: AnswerCache,
        request: RawRequest,
        recorder: Box<dyn AnswerRecorder>,
    ) -> Option<Self> {
        (request.is_cached() && request.body.len() <= MAX_REQUEST).then_some(Self {
            cache,
            request,
            recorder,
        })
    }

    pub(crate) fn push(&mut self, bytes: &Bytes) {
        self.recorder.push(bytes);
    }

    /// The request is parsed here, and not before its answer is complete.
    pub(crate) fn finish(mut self) {
        if let Some(text) = self.recorder.finish()
            && let Some(parsed) = self.request.parse()
            && let Some(key) = parsed.key()
        {
            self.cache.insert(key, &text, clock::now());
        }
    }
}

use bytes::Bytes;
use http_body::Frame;
use tidegate_core::{Scan, Usage};

use crate::{AttemptUsage, Error};

/// Scans a whole response body as it passes, for the usage that the provider reports.
pub(super) struct UsageScanner {
    scanner: Box<dyn Scan>,
    attempt_usage: AttemptUsage,
}

impl UsageScanner {
    pub(super) fn new(scanner: Box<dyn Scan>, attempt_usage: AttemptUsage) -> Self {
        Self { scanner, attempt_usage }
    }

    /// The usage that the provider has reported so far.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.scanner.state().usage
    }

    /// Scans a frame, or the end of the body. A server may not poll the body again once it has read the
    /// announced length, so the last frame is treated as the end, too.
    pub(super) fn on_frame(&mut self, frame: Option<&Result<Frame<Bytes>, Error>>, is_last: bool) {
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.scanner.push(data);
                }
            }
            Some(Err(_)) => return,
            None => drop(self.scanner.finish()),
        }
        if is_last {
            self.scanner.finish();
        }
        if let Some(usage) = self.scanner.state().usage {
            self.attempt_usage.set_usage(usage, true);
        }
    }
}

partial_debug!([] UsageScanner, "UsageScanner", attempt_usage);

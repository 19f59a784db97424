//! The status of limits in the headers of a response.

pub(crate) mod reported;
pub(crate) mod reset_headers;

use std::time::Duration;

/// The longest wait that is retried even for a daily limit: such limits often have a rolling window.
pub(crate) const SHORT_WAIT: Duration = Duration::from_secs(5 * 60);

use std::time::Duration;

/// The fields of an error body. The dialect fills in what is not set.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorSpec {
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
    /// The retry delay, for dialects that report it in the body.
    pub(super) wait: Option<Duration>,
}

use std::borrow::Cow;
use std::error::Error;

/// A fault that a script injects. It is the error of a call or of a body.
///
/// ```
/// use tidegate_testkit::Fault;
///
/// let error: Box<dyn std::error::Error + Send + Sync> = Fault::reset().into();
/// assert_eq!(Fault::find(&*error), Some(&Fault::reset()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    kind: FaultKind,
    message: Cow<'static, str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultKind {
    Reset,
    Cut,
    Other,
}

impl Fault {
    /// The connection was reset before a response arrived.
    #[must_use]
    pub const fn reset() -> Self {
        Self { kind: FaultKind::Reset, message: Cow::Borrowed("connection reset by the script") }
    }

    /// The connection was closed in the middle of a response.
    #[must_use]
    pub const fn cut() -> Self {
        Self { kind: FaultKind::Cut, message: Cow::Borrowed("connection cut by the script") }
    }

    /// Another fault, with this message.
    #[must_use]
    pub fn other(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Other, message: Cow::Owned(message.into()) }
    }

    /// Finds the fault in `error` or in its chain of sources.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
    }
}

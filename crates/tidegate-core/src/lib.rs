//! The vocabulary that every part of tidegate speaks.
//!
//! One attempt at a provider comes to one [`Outcome`]. A failure carries an [`ErrorCode`] and, if the
//! provider said when to come back, a [`RetryHint`]. When one of our own layers says no, that is a
//! [`Rejection`]. A request body that may have to be sent again is a [`Payload`]; the time a call may
//! take as a whole is a [`Deadline`], the attempts that it may make an [`AttemptBudget`]. What was decided on the way
//! is the call's [`Trail`], and what it used its [`UsageMeter`].
//!
//! This crate knows `http` and nobody else: no vendor, no runtime, no clock.

mod announced;
mod attempts;
mod classify;
mod code;
mod compose;
mod continuation;
mod deadline;
mod elapsed;
mod envelope;
mod estimate;
mod finish;
mod hint;
mod meter;
mod models;
mod outcome;
mod payload;
mod priority;
mod rejection;
mod scan;
mod trail;
mod translate;
mod upload;

pub use announced::{LimitStatus, LimitUnit, ReportedLimits, Reset};
pub use attempts::AttemptBudget;
pub use classify::{BodyProbe, Classifier, StatusClassifier};
pub use code::{Category, ErrorCode, UnknownErrorCode};
pub use compose::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};
pub use continuation::{BodyRewritten, NotContinuable, StreamContinuator, StreamSplicer};
pub use deadline::Deadline;
pub use elapsed::{Clock, Elapsed};
pub use envelope::ErrorBody;
pub use estimate::{ByLength, Estimate, Estimated};
pub use finish::StreamOutcome;
pub use hint::{HintSource, LimitScope, RetryHint};
pub use meter::{AttemptUsage, UsageMeter, UsageTotals};
pub use models::{MissingCapability, ModelCapabilities, ModelCatalog, Requirements};
pub use outcome::{Failure, FailureKind, Outcome};
pub use payload::{Collect, Payload};
pub use priority::Priority;
pub use rejection::{Gate, Rejection};
pub use scan::{Scan, ScanProgress, Stop, StreamState, Usage};
pub use trail::{Step, Trail, Verdict};
pub use translate::{BodyMode, ResponseTranslator, Translation, Translator, Untranslatable};
pub use upload::UploadError;

/// Any error that can travel between services.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The errors of a chain, outermost first; what an I/O error was made of is one of them.
pub fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| match error.downcast_ref::<std::io::Error>() {
        // Its `source` skips the very error that it was made of.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
        None => error.source(),
    })
}

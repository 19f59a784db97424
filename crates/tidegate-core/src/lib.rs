//! The types that every part of tidegate shares.
//!
//! The result of one attempt at a provider is an [`Outcome`]. A failure carries an [`ErrorCode`] and, if the
//! provider reported when to retry, a [`RetryHint`]. A refusal by one of tidegate's own layers is a
//! [`Rejection`]. A request body that may have to be sent again is a [`Payload`]. A [`Deadline`] bounds the
//! time of a whole call, an [`AttemptBudget`] the number of its attempts. The decisions made during a call
//! are recorded in its [`Trail`], the tokens that it used in its [`UsageMeter`].
//!
//! This crate depends on the `http` types only: it names no vendor, needs no runtime and runs no timers. With
//! the feature `tower` it depends on tower and tokio for the types of their errors.

use std::error::Error as StdError;

mod answer_synthesizer;
mod attempt_budget;
mod classifier;
mod connect_error;
mod deadline;
mod elapsed;
mod error;
mod error_body;
mod error_code;
mod estimate;
mod json_depth;
mod model_catalog;
mod not_processed;
mod outcome;
mod payload;
mod priority;
mod rejection;
mod rejection_reason;
mod reported_limits;
mod retry_hint;
mod scan;
mod server_time;
mod stream_continuation;
mod stream_outcome;
mod trail;
mod translator;
mod upload_error;
mod usage_meter;

pub use answer_synthesizer::{AnswerRecorder, AnswerSynthesizer, ChatQuestion, CompletionLimits};
pub use attempt_budget::AttemptBudget;
pub use classifier::{AnswerForm, BodyProbe, Classifier, ExpectedAnswer, StatusClassifier};
pub use connect_error::ConnectError;
pub use deadline::Deadline;
pub use elapsed::{Clock, Elapsed};
pub use error::Error;
pub use error_body::ErrorBody;
pub use error_code::{Category, ErrorCode, UnknownErrorCode};
pub use estimate::{ByLength, Estimate, Estimated};
pub use json_depth::JsonDepth;
pub use model_catalog::{MissingCapability, ModelCapabilities, ModelCatalog, Requirements};
pub use not_processed::{NotProcessed, NotProcessedReason};
pub use outcome::{Failure, FailureKind, Outcome};
pub use payload::{Collect, Payload};
pub use priority::Priority;
pub use rejection::{Gate, Rejection};
pub use rejection_reason::RejectionReason;
pub use reported_limits::{LimitStatus, LimitUnit, ReportedLimits, Reset};
pub use retry_hint::{HintSource, LimitScope, RetryHint};
pub use scan::{Scan, ScanProgress, StopReason, StreamState, Usage};
pub use server_time::server_time;
pub use stream_continuation::{BodyRewritten, NotContinuable, StreamContinuator, StreamSplicer};
pub use stream_outcome::StreamOutcome;
pub use trail::{Step, Trail, Verdict};
pub use translator::{BodyMode, ResponseTranslator, Translation, Translator, Untranslatable};
pub use upload_error::UploadError;
pub use usage_meter::{AttemptUsage, UsageMeter, UsageTotals};

/// Any error that can travel between services.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Iterates over `error` and its sources, outermost first. The error inside an [`std::io::Error`] is
/// included.
pub fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| match error.downcast_ref::<std::io::Error>() {
        // The `source` of an I/O error skips the error that it was made from.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    })
}

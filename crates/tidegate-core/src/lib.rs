//! The vocabulary that every part of tidegate speaks.
//!
//! One attempt at a provider comes to one [`Outcome`]. A failure carries an [`ErrorCode`] and, if the
//! provider said when to come back, a [`Hint`]. When one of our own layers says no, that is a
//! [`Rejection`]. A request body that may have to be sent again is a [`Payload`]; the time a call may
//! take as a whole is a [`Deadline`], the attempts that it may make an [`AttemptBudget`]. What was decided on the way
//! is the call's [`Trail`], and what it used its [`Meter`].
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

pub use announced::{Allowance, Announced, Currency, Reset};
pub use attempts::AttemptBudget;
pub use classify::{Classify, Opening, StatusClassifier};
pub use code::{Category, ErrorCode, UnknownErrorCode};
pub use compose::{Bounds, Compose, Question, Transcribe};
pub use continuation::{Continue, Rewritten, Splice, Unfit};
pub use deadline::Deadline;
pub use elapsed::{Clock, Elapsed};
pub use envelope::Envelope;
pub use estimate::{ByLength, Estimate, Estimated};
pub use finish::Finish;
pub use hint::{Hint, HintSource, Scope};
pub use meter::{Attempt, Meter, Metered};
pub use models::{Lack, ModelCard, Models, Needs};
pub use outcome::{Cause, Failure, Outcome};
pub use payload::{Collect, Payload};
pub use priority::Priority;
pub use rejection::{Gate, Rejection};
pub use scan::{Pulse, Scan, Stop, StreamState, Usage};
pub use trail::{Step, Trail, Verdict};
pub use translate::{Interpret, Manner, Translate, Translation, Untranslatable};
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

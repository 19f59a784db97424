use std::error::Error;
use std::fmt;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, request, response};

use crate::{ErrorCode, Failure, Gate, Rejection};

/// Puts requests of one dialect into the words of another, for a target that speaks only that.
///
/// Sans-io, like [`Classifier`](crate::Classifier) and [`Scan`](crate::Scan). Implementations know the two dialects; the
/// layer knows when to ask.
pub trait Translator: Send + Sync + 'static {
    /// The request in the target's dialect, and who translates the answer to it.
    ///
    /// `head` gets the headers that the dialect asks for; its address and the name of the model are left as they are.
    ///
    /// # Errors
    ///
    /// What the request asks for cannot be said in the other dialect.
    fn request(&self, head: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable>;
}

/// A request in the words of the target.
pub struct Translation {
    /// Its body.
    pub body: Bytes,
    /// The way back.
    pub response: Box<dyn ResponseTranslator>,
}

/// Puts the answer to one request into the dialect that the request came in.
///
/// The same bytes give the same bytes however they are cut, and memory is bounded.
pub trait ResponseTranslator: Send {
    /// Says what there is to do for the answer with this head, and makes the head one of the other dialect. `now` is for
    /// a dialect that tells the time.
    ///
    /// # Errors
    ///
    /// A good answer that cannot be read, since it is compressed.
    fn head(&mut self, head: &mut response::Parts, now: SystemTime) -> Result<BodyMode, Failure>;

    /// The whole body of a plain answer, or of a failed one; of a failed one, it may be cut off anywhere.
    ///
    /// # Errors
    ///
    /// A good status, and a body that is no answer.
    fn whole(&mut self, status: StatusCode, body: &[u8]) -> Result<Bytes, Failure>;

    /// Takes the next bytes of a stream, and adds what they come to in the other dialect to `out`. An event that cannot
    /// be read is left out.
    ///
    /// # Errors
    ///
    /// An event could be neither translated nor left out. What came before it is in `out`.
    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure>;

    /// The stream has ended as it should.
    fn end(&mut self, out: &mut BytesMut);
}

/// How the body of an answer is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    /// Not at all: it says nothing in either dialect.
    Untouched,
    /// When it is all here.
    Whole,
    /// Event by event.
    Events,
}

/// A request that cannot be said in the dialect of the target. Nobody was asked, and another target may take it.
///
/// Names the field, and never what was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untranslatable {
    field: &'static str,
    problem: &'static str,
    rejection: Rejection,
}

impl Untranslatable {
    /// `field` is what is in the way: `problem` says why, in words that go on from the name.
    #[must_use]
    pub const fn new(field: &'static str, problem: &'static str) -> Self {
        Self { field, problem, rejection: Rejection::new(Gate::Translate, ErrorCode::InvalidRequest) }
    }

    /// The field that is in the way, as a path without positions: `messages[].content[].type`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// The same as a refusal of ours.
    #[must_use]
    pub const fn rejection(&self) -> &Rejection {
        &self.rejection
    }
}

impl fmt::Display for Untranslatable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.problem)
    }
}

/// Its source is a [`Rejection`], so that it is told from a failure of the provider.
impl Error for Untranslatable {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.rejection)
    }
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Translation({} bytes)", self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, ErrorBody, Outcome};

    #[test]
    fn names_the_field_and_counts_against_nobody() {
        let error: BoxError = Untranslatable::new("n", "is more than 1").into();
        assert_eq!(Outcome::of_error(&*error), Outcome::Neutral);
        assert_eq!(Rejection::find(&*error).unwrap().gate(), Gate::Translate);
        let envelope = ErrorBody::of_error(&*error);
        assert_eq!((envelope.code(), envelope.message()), (ErrorCode::InvalidRequest, "`n` is more than 1"));
    }
}

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, Uri, request, response};

use crate::{ErrorCode, Failure, Gate, Rejection};

/// Translates requests from the caller's dialect into the dialect of a target.
///
/// Implementations do no I/O, like [`Classifier`](crate::Classifier) and [`Scan`](crate::Scan). They contain
/// the knowledge about the two dialects; the layer decides when a request is translated.
pub trait Translator: Send + Sync + 'static {
    /// Translates a request, and returns the new body together with the translator for its response.
    ///
    /// The headers that the target's dialect requires are added to `head`. The URI and the name of the model
    /// are not changed.
    ///
    /// # Errors
    ///
    /// The request uses a feature that the target's dialect cannot express.
    fn request(&self, head: &mut request::Parts, body: &[u8]) -> Result<Translation, Untranslatable>;

    /// Whether requests to this URI are translated. The others pass unchanged, and so do their responses. By
    /// default all are translated.
    fn applies_to(&self, uri: &Uri) -> bool {
        let _ = uri;
        true
    }
}

/// A translated request.
pub struct Translation {
    /// The body in the target's dialect.
    pub body: Bytes,
    /// Translates the response to this request.
    pub response: Box<dyn ResponseTranslator>,
}

/// Translates the response to one request into the dialect of the caller.
///
/// The output depends on the bytes only, not on how they are split into chunks. Memory is bounded.
pub trait ResponseTranslator: Send + Sync {
    /// Translates the head of the response, and returns how its body is to be translated. `now` is used by
    /// dialects in which a response carries its creation time.
    ///
    /// # Errors
    ///
    /// The response is successful but cannot be read, because it is compressed.
    fn head(&mut self, head: &mut response::Parts, now: SystemTime) -> Result<BodyMode, Failure>;

    /// Translates the whole body of a response that is not a stream, or of a failed response. The body of a
    /// failed response may be cut off anywhere.
    ///
    /// # Errors
    ///
    /// The status is a success, and the body is not a valid response.
    fn whole(&mut self, status: StatusCode, body: &[u8]) -> Result<Bytes, Failure>;

    /// Translates the next bytes of a stream, and appends the resulting events to `out`. An event that cannot
    /// be parsed is dropped.
    ///
    /// # Errors
    ///
    /// An event can be neither translated nor dropped. The events before it are in `out`.
    fn events(&mut self, bytes: &[u8], out: &mut BytesMut) -> Result<(), Failure>;

    /// Sets the maximum size of one event of a stream. A larger one is an error. It is called before the
    /// first event, and has no effect by default.
    fn set_event_cap(&mut self, _bytes: usize) {}

    /// Appends the last events after the stream has ended without an error.
    fn end(&mut self, out: &mut BytesMut);
}

/// How the body of a response is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyMode {
    /// The body passes unchanged, since it has no meaning in either dialect.
    Untouched,
    /// The body is buffered and translated as a whole.
    Whole,
    /// The body is a stream and is translated event by event.
    Events,
}

/// A request cannot be expressed in the dialect of the target. It was not sent, and another target may accept
/// it.
///
/// The error names the field and never contains its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct Untranslatable {
    field: Cow<'static, str>,
    problem: &'static str,
    error_code: Option<&'static str>,
    /// Distinguishes the error from a failure of the provider.
    #[source]
    rejection: Rejection,
}

impl Untranslatable {
    /// An error about `field`. `problem` is the reason, worded so that it follows the name of the field.
    #[must_use]
    pub const fn new(field: &'static str, problem: &'static str) -> Self {
        Self {
            field: Cow::Borrowed(field),
            problem,
            error_code: None,
            rejection: Rejection::new(Gate::Translate, ErrorCode::InvalidRequest),
        }
    }

    /// An error about a field that the translator does not know. `field` must not contain anything else of
    /// the request.
    #[must_use]
    pub fn unknown(field: String) -> Self {
        Self {
            field: Cow::Owned(field),
            ..Self::new("", "is unknown, and cannot be dropped without knowing what it does")
        }
    }

    /// Sets the code by which clients of the caller's API recognize the error, and send the request in
    /// another form.
    #[must_use]
    pub fn with_error_code(self, code: &'static str) -> Self {
        Self { error_code: Some(code), ..self }
    }

    /// The code by which clients of the caller's API recognize the error, if there is one.
    #[must_use]
    pub const fn error_code(&self) -> Option<&'static str> {
        self.error_code
    }

    /// The field that cannot be translated, as a path without indices: `messages[].content[].type`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The rejection that this error stands for.
    #[must_use]
    pub const fn rejection(&self) -> &Rejection {
        &self.rejection
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
    fn names_the_field_and_is_neutral() {
        let error: BoxError = Untranslatable::new("n", "is more than 1").into();
        assert_eq!(Outcome::of_error(&*error), Outcome::Neutral);
        assert_eq!(Rejection::find(&*error).unwrap().gate(), Gate::Translate);
        let body = ErrorBody::of_error(&*error);
        assert_eq!((body.code(), body.message()), (ErrorCode::InvalidRequest, "`n` is more than 1"));
    }
    #[test]
    fn clients_recognize_the_error_by_its_details() {
        let error =
            Untranslatable::unknown("thread".to_owned()).with_error_code("thread_unsupported_request");
        let body: serde_json::Value = serde_json::from_str(&ErrorBody::of_error(&error).to_json()).unwrap();
        let details =
            serde_json::json!({"error_code": "thread_unsupported_request", "unsupported": ["thread"]});
        assert_eq!(body["error"]["details"], details);
        let other = ErrorBody::of_error(&Untranslatable::unknown("n".to_owned())).to_json();
        assert!(!other.contains("details"), "{other}");
    }
}

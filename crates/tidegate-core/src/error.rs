//! The error of every service of tidegate.

use std::any::Any;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Deref;

use crate::{BoxError, Elapsed, Failure, Rejection, Untranslatable, UploadError};

/// The error of tidegate's services: the [`Rejection`] of a gate, or the error of the service below,
/// unchanged.
///
/// It dereferences to `dyn std::error::Error`, so that `error.downcast_ref::<hyper::Error>()` finds the error
/// of the client as in a [`BoxError`]; `?` turns it into one. A rejection is stored in place: to reject a
/// call allocates nothing.
pub struct Error(Repr);

enum Repr {
    Rejected(Rejection),
    Other(BoxError),
}

impl Error {
    /// Wraps the error of a service. An `Error`, and the boxed form of one, is returned as it is.
    #[must_use]
    pub fn new<E: Into<BoxError> + 'static>(error: E) -> Self {
        let mut slot = Some(error);
        if let Some(own) = (&mut slot as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return own.take().expect("filled above");
        }
        Self::from_boxed(slot.take().expect("filled above").into())
    }

    /// Wraps an error like [`new`](Self::new), also one that is not known to be `'static`. An `Error` is put
    /// into a box on the way.
    #[must_use]
    pub fn boxed<E: Into<BoxError>>(error: E) -> Self {
        Self::from_boxed(error.into())
    }

    /// Wraps a boxed error, unless it is an `Error` or a [`Rejection`] in a box.
    fn from_boxed(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(error) => error,
        };
        match error.downcast::<Rejection>() {
            Ok(rejection) => Self(Repr::Rejected(*rejection)),
            Err(error) => Self(Repr::Other(error)),
        }
    }

    /// The rejection, if a gate of tidegate rejected the call; also one that another layer has wrapped.
    #[must_use]
    pub fn rejection(&self) -> Option<&Rejection> {
        match &self.0 {
            Repr::Rejected(rejection) => Some(rejection),
            Repr::Other(error) => Rejection::find(&**error),
        }
    }

    /// The rejection, if no other layer has wrapped it, to change it.
    pub fn rejection_mut(&mut self) -> Option<&mut Rejection> {
        match &mut self.0 {
            Repr::Rejected(rejection) => Some(rejection),
            Repr::Other(_) => None,
        }
    }

    /// The error in a box, without this wrapper.
    #[must_use]
    pub fn into_boxed(self) -> BoxError {
        match self.0 {
            Repr::Rejected(rejection) => Box::new(rejection),
            Repr::Other(error) => error,
        }
    }

    /// The error itself if it is a `T`.
    ///
    /// # Errors
    ///
    /// This error, unchanged, if it is of another type.
    pub fn downcast<T: StdError + Send + Sync + 'static>(self) -> Result<T, Self> {
        self.into_boxed().downcast().map(|error| *error).map_err(Self::from_boxed)
    }
}

impl Deref for Error {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        match &self.0 {
            Repr::Rejected(rejection) => rejection,
            Repr::Other(error) => &**error,
        }
    }
}

impl From<Rejection> for Error {
    fn from(rejection: Rejection) -> Self {
        Self(Repr::Rejected(rejection))
    }
}

/// The errors that a service or a handler around one meets most often.
macro_rules! from_error {
    ($($error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self(Repr::Other(error.into()))
            }
        })+
    };
}

from_error!(Elapsed, Failure, Infallible, Untranslatable, UploadError, http::Error, io::Error);

impl From<BoxError> for Error {
    fn from(error: BoxError) -> Self {
        Self::from_boxed(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl StdError for Error {
    /// The error inside, so that a walk along the sources finds it.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&**self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorCode, Gate};

    fn rejection() -> Rejection {
        Rejection::new(Gate::RateLimit, ErrorCode::RateLimited)
    }

    #[test]
    fn wraps_an_error_once_however_often_it_passes_a_layer() {
        let error = Error::new(Error::new(io::Error::other("reset")));
        assert!(error.downcast_ref::<io::Error>().is_some());
        let boxed: BoxError = error.into();
        assert!(Error::new(boxed).downcast_ref::<io::Error>().is_some());
    }

    #[test]
    fn finds_a_rejection_in_every_form() {
        let boxed: BoxError = rejection().into();
        let twice: BoxError = Error::from(rejection()).into();
        for error in [Error::from(rejection()), Error::new(rejection()), Error::new(boxed), Error::new(twice)]
        {
            assert_eq!(error.rejection(), Some(&rejection()));
            assert_eq!(Rejection::find(&error), Some(&rejection()));
            assert_eq!(Rejection::find(&*error), Some(&rejection()));
            assert_eq!(error.to_string(), rejection().to_string());
        }
    }

    #[test]
    fn downcasts_to_the_error_inside_or_returns_itself() {
        assert_eq!(Error::from(rejection()).downcast::<Rejection>().unwrap(), rejection());
        let other = Error::new(io::Error::other("reset")).downcast::<Rejection>().unwrap_err();
        assert_eq!(other.to_string(), "reset");
    }
}

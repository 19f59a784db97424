use std::time::Duration;

use http::Request;

use super::TimeoutHeader;
use crate::{AttemptBudget, Deadline, Rejection, clock};

/// What a call may take as a whole: time, and attempts. By default, whatever it takes.
///
/// The stack puts its own on every call; a program that asks a chain of stacks puts them on the chain's.
#[derive(Clone, Debug, Default)]
#[must_use = "bounds do nothing until they are put on a call"]
pub struct CallLimits {
    time: Option<Duration>,
    attempts: Option<u32>,
    header: Option<TimeoutHeader>,
}

impl CallLimits {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// The call may take this long, waits, attempts and fallbacks together.
    pub fn total_timeout(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }

    /// The call may make so many attempts, retries and fallbacks together. 0 is taken as 1.
    pub fn max_attempts(self, attempts: u32) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// The caller may say in this header how long it waits, and shorten the time.
    pub fn timeout_header(self, header: TimeoutHeader) -> Self {
        Self { header: Some(header), ..self }
    }

    /// Gives a call its [`Deadline`] and its [`AttemptBudget`], and takes the header out of its headers: what it says
    /// is less by the time of the next attempt.
    ///
    /// Of several deadlines the earliest holds; of two attempt budgets the one that was there, since whoever is
    /// further out counts what all the targets do.
    ///
    /// # Errors
    ///
    /// The header cannot be read: a refusal with E1001.
    pub fn apply_to<B>(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        let from_header = self.header.as_ref().map_or(Ok(None), |header| header.take(request.headers_mut()))?;
        let extensions = request.extensions_mut();
        if let Some(time) = self.time.into_iter().chain(from_header).min() {
            Deadline::after(time, clock::now()).tighten(extensions);
        }
        if let Some(attempts) = self.attempts {
            extensions.get_or_insert_with(|| AttemptBudget::new(attempts));
        }
        Ok(())
    }
}

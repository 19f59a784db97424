use std::time::Duration;

use http::Request;

use super::TimeoutHeader;
use crate::{AttemptBudget, Deadline, Rejection, clock};

/// The limits of a call as a whole: time and attempts. Unlimited by default.
///
/// The stack applies its limits to every call. A program that calls a chain of stacks applies them to the
/// calls of the chain.
#[derive(Clone, Debug, Default)]
#[must_use = "limits do nothing until they are applied to a request"]
pub struct CallLimits {
    time: Option<Duration>,
    attempts: Option<u32>,
    header: Option<TimeoutHeader>,
}

impl CallLimits {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// The time of the call: waits, attempts and fallbacks together.
    pub fn total_timeout(self, time: Duration) -> Self {
        Self { time: Some(time), ..self }
    }

    /// The attempts of the call, retries and fallbacks together. Zero is raised to one.
    pub fn max_attempts(self, attempts: u32) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// The attempts, unless they are set.
    pub(super) fn or_max_attempts(self, attempts: Option<u32>) -> Self {
        Self { attempts: self.attempts.or(attempts), ..self }
    }

    /// The caller may shorten the time with this header. A time of the caller that passes is no failure of
    /// the provider.
    pub fn timeout_header(self, header: TimeoutHeader) -> Self {
        Self { header: Some(header), ..self }
    }

    pub(super) const fn is_unlimited(&self) -> bool {
        matches!(self, Self { time: None, attempts: None, header: None })
    }

    /// Sets the [`Deadline`] and the [`AttemptBudget`] of a call, and removes the timeout header from its
    /// headers, since its value would be too long for a later attempt.
    ///
    /// Of several deadlines the earliest applies. An attempt budget that the request already has is kept,
    /// since an outer layer counts the attempts of all targets.
    ///
    /// # Errors
    ///
    /// The header cannot be parsed: a rejection with E1001.
    pub fn apply_to<B>(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        let from_header =
            self.header.as_ref().map_or(Ok(None), |header| header.take(request.headers_mut()))?;
        let extensions = request.extensions_mut();
        if self.time.is_some() || from_header.is_some() {
            let now = clock::now();
            let own = self.time.map(|time| Deadline::after(time, now));
            let of_caller = from_header.map(|time| Deadline::after(time, now).of_caller());
            own.into_iter().chain(of_caller).for_each(|deadline| {
                deadline.tighten(extensions);
            });
        }
        if let Some(attempts) = self.attempts {
            extensions.get_or_insert_with(|| AttemptBudget::new(attempts));
        }
        Ok(())
    }
}

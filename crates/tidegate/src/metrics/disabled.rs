//! The same types without the feature: they are empty, and nothing is recorded.

use http::Extensions;
use tidegate_core::Usage;

use super::CallTokens;
use crate::events::Decision;
use crate::{Error, Failure, Outcome, Rejection};

#[derive(Clone, Copy, Debug)]
pub(crate) struct TargetMetrics;

impl TargetMetrics {
    pub(crate) fn of(_: &str) -> Self {
        Self
    }

    pub(crate) fn record(_: &Decision, _: &str) {}
    pub(crate) fn record_rejection(self, _: &Rejection) {}
    pub(crate) fn record_retried_call(self, _: bool) {}
    pub(crate) fn record_cache_lookup(self, _: bool) {}
    pub(crate) fn record_tokens(self, _: CallTokens) {}
}

#[derive(Debug, Default)]
pub(crate) struct TargetMetricsCell(());

impl TargetMetricsCell {
    pub(crate) fn get(&self, _: &str) -> TargetMetrics {
        TargetMetrics
    }
}

#[derive(Debug, Default)]
pub(crate) struct AttemptMetrics;

impl AttemptMetrics {
    pub(crate) fn start(_: TargetMetrics) -> Self {
        Self
    }

    pub(crate) fn on_outcome(&mut self, _: &Outcome) {}
    pub(crate) fn on_first_token(&self) {}
    pub(crate) fn on_body_error(&mut self, _: &Error) {}
    pub(crate) fn on_body_failure(&mut self, _: &Failure) {}
    pub(crate) fn on_usage(&mut self, _: &Usage) {}
}

#[derive(Debug)]
pub(crate) struct CallMetrics;

impl CallMetrics {
    pub(crate) fn start(_: TargetMetrics, _: &Extensions) -> Self {
        Self
    }

    pub(crate) fn on_result<B>(&mut self, _: &Result<http::Response<B>, Error>) {}
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ChoiceCounters;

impl ChoiceCounters {
    pub(crate) fn increment(&self, _: &str, _: &str, _: crate::group::ChoiceReason) {}
}

//! The record of recent calls: what `/calls` shows, and the events at the head and at the end of a response.
//!
//! ```text
//! begin ─▶ route ─▶ head: `answered` ─▶ frames ─▶ end, or dropped: `response ended`
//! ```
//!
//! A record contains names of the configuration, numbers, times and codes only: no prompt, answer, header or
//! credential.

mod body;
mod body_failures;
mod call_end;
mod ongoing_call;
mod pages;
mod recent;
mod record;

pub(crate) use self::body::RecordedBody;
pub(crate) use self::body_failures::BodyFailures;
pub(crate) use self::ongoing_call::OngoingCall;
pub(crate) use self::pages::router;
pub(crate) use self::recent::{CallCounts, RecentCalls};
pub(crate) use self::record::{CallProgress, CallRecord, CallSummary};

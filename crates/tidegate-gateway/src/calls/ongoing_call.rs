use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response};
use tidegate::ErrorCode;

use super::call_end::CallEnd;
use super::recent::RecentCalls;
use super::record::CallRecord;
use crate::access::CallerName;
use crate::call_trace::CallTrace;
use crate::proxy::CODE;

const CALL: HeaderName = HeaderName::from_static("x-tidegate-call");

/// A call in flight. Unless it [has ended](Self::end) before, it ends as dropped when this is dropped.
#[derive(Debug)]
pub(crate) struct OngoingCall {
    record: Arc<CallRecord>,
    recent: RecentCalls,
}

impl OngoingCall {
    /// Adds a call to `recent`.
    pub(crate) fn begin(
        recent: &RecentCalls,
        path: &'static str,
        caller: Option<&CallerName>,
        trace: Option<Arc<dyn CallTrace>>,
    ) -> Self {
        let caller = caller.map(|CallerName(name)| Arc::clone(name));
        Self { record: recent.add(path, caller, trace), recent: recent.clone() }
    }

    pub(crate) const fn record(&self) -> &Arc<CallRecord> {
        &self.record
    }

    /// Records and logs the head of the response, and adds the id of the call to it.
    pub(super) fn begin_response(&self, response: &mut Response<Body>) {
        let record = &*self.record;
        let code = response.headers().get(CODE).and_then(|code| code.to_str().ok()?.parse().ok());
        let status = response.status().as_u16();
        let head_ms = record.set_head(status, code);
        tracing::debug!(
            layer = "gateway",
            call = record.id,
            path = record.path,
            target = record.trail().target().as_deref(),
            attempts = record.trail().attempts(),
            code = code.map(ErrorCode::code),
            status,
            head_ms,
            "answered",
        );
        if let Ok(id) = HeaderValue::from_str(&record.id) {
            response.headers_mut().insert(CALL, id);
        }
    }

    pub(super) fn add_bytes(&self, bytes: usize) {
        self.record.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records and logs the end of the response, once.
    pub(super) fn end(&self, end: CallEnd) {
        let record = &*self.record;
        let Some(end) = record.set_end(end) else { return };
        let call = record.summary();
        tracing::info!(
            layer = "gateway",
            call = call.id,
            path = call.path,
            target = call.target.as_deref(),
            attempts = record.trail().attempts(),
            status = call.status,
            end = end.name(),
            code = call.code.map(ErrorCode::code),
            bytes = call.bytes,
            head_ms = call.head_ms,
            total_ms = call.total_ms,
            "response ended",
        );
        record.end_trace();
        self.recent.count(record, end);
    }
}

impl Drop for OngoingCall {
    fn drop(&mut self) {
        self.end(CallEnd::Dropped);
    }
}

use std::sync::Arc;

use tidegate::Error;

use super::record::CallRecord;
use crate::open_calls::CallInFlight;

/// Records in which error the body of a response ends. If the call is ended from outside while the caller
/// does not read, the body is dropped before it returns that error.
pub(crate) struct BodyFailures {
    record: Arc<CallRecord>,
    call: CallInFlight,
}

impl BodyFailures {
    pub(crate) fn new(record: Arc<CallRecord>, call: CallInFlight) -> Self {
        Self { record, call }
    }

    pub(crate) fn record(&self, error: Error) -> Error {
        self.record.fail(&error);
        error
    }
}

impl Drop for BodyFailures {
    fn drop(&mut self) {
        if let Some(reason) = self.call.end_reason() {
            self.record.fail(&reason.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate::ErrorCode;

    use super::super::{OngoingCall, RecentCalls};
    use super::*;
    use crate::open_calls::CallsInFlight;

    #[test]
    fn the_reason_of_an_end_from_outside_is_recorded_without_a_read() {
        for (is_cut, end, code) in [(true, "stopped", Some(ErrorCode::Overloaded)), (false, "dropped", None)]
        {
            let (calls, recent) = (CallsInFlight::default(), RecentCalls::new(1));
            let ongoing = OngoingCall::begin(&recent, "/", None, None);
            let record = Arc::clone(ongoing.record());
            let failures = BodyFailures::new(Arc::clone(&record), calls.begin(None));
            if is_cut {
                assert_eq!(calls.cut(), 1);
            }
            drop(failures);
            drop(ongoing);
            let report = serde_json::to_value(record.report()).unwrap();
            assert_eq!((&report["end"], &report["code"]), (&json!(end), &json!(code)));
        }
    }
}

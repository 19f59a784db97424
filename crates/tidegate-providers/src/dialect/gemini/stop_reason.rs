use tidegate_core::StopReason;

use crate::dialect::parsed_event::StreamError;

pub(crate) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "STOP" => StopReason::Natural,
        "MAX_TOKENS" => StopReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// The finish reasons with which the rest of an answer is lost, since it could not be parsed: usually a tool
/// call.
pub(crate) fn failure_reason(reason: &str) -> Option<StreamError> {
    const FAILURES: [&str; 3] = ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"];
    let name = FAILURES.into_iter().find(|name| *name == reason)?;
    Some(StreamError::Output(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_a_filter_is_one() {
        for (reason, stop) in [
            ("STOP", StopReason::Natural),
            ("MAX_TOKENS", StopReason::Length),
            ("SAFETY", StopReason::ContentFilter),
            ("RECITATION", StopReason::ContentFilter),
            ("BLOCKLIST", StopReason::ContentFilter),
            ("PROHIBITED_CONTENT", StopReason::ContentFilter),
            ("SPII", StopReason::ContentFilter),
            ("MODEL_ARMOR", StopReason::ContentFilter),
            ("IMAGE_SAFETY", StopReason::ContentFilter),
            ("IMAGE_PROHIBITED_CONTENT", StopReason::ContentFilter),
            ("IMAGE_RECITATION", StopReason::ContentFilter),
            ("LANGUAGE", StopReason::Other),
        ] {
            assert_eq!((stop_reason(reason), failure_reason(reason)), (Some(stop), None), "{reason}");
        }
        for reason in ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"] {
            assert_eq!(failure_reason(reason), Some(StreamError::Output(reason)));
        }
    }
}

//! A caller: it sends one request, reads the answer, and loses its patience.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tidegate::BoxError;
use tokio::time::{Instant, timeout};
use tower::ServiceExt;

use crate::answer::{has_token, is_complete};
use crate::call::CallPlan;
use crate::stack::StackService;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnding {
    /// The caller has a complete answer.
    Served,
    /// It has an error, or an answer that is not complete.
    Failed,
    /// Its patience was over.
    TooLate,
    /// It left.
    Left,
}

/// The result of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallOutcome {
    pub(crate) ending: CallEnding,
    /// The time to the first token, of a stream.
    pub(crate) first_token: Option<Duration>,
    /// The time to the end.
    pub(crate) total: Duration,
}

/// Makes the call.
pub(crate) async fn make_call(
    plan: &CallPlan,
    request: Request<Bytes>,
    service: StackService,
) -> CallOutcome {
    let started = Instant::now();
    let mut first_token = None;
    let leave_after = plan.leave_after.filter(|leave_after| *leave_after < plan.patience);
    let answer = answer(request, service, plan.is_stream, || {
        first_token.get_or_insert_with(|| started.elapsed());
    });
    let ending = match timeout(leave_after.unwrap_or(plan.patience), answer).await {
        Ok(Ok(true)) => CallEnding::Served,
        Ok(Ok(false) | Err(_)) => CallEnding::Failed,
        Err(_) if leave_after.is_some() => CallEnding::Left,
        Err(_) => CallEnding::TooLate,
    };
    CallOutcome { ending, first_token, total: started.elapsed() }
}

/// Reads the answer to its end, and returns whether it is one.
async fn answer(
    request: Request<Bytes>,
    service: StackService,
    is_stream: bool,
    mut on_token: impl FnMut(),
) -> Result<bool, BoxError> {
    let response = service.oneshot(request).await?;
    if !response.status().is_success() {
        return Ok(false);
    }
    let mut body = response.into_body();
    let mut frames = Vec::new();
    let mut has_started = false;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if is_stream && !has_started && has_token(&data) {
            has_started = true;
            on_token();
        }
        frames.push(data);
    }
    Ok(is_complete(&frames, is_stream))
}

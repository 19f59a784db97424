use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tidegate_core::BoxError;

use crate::Fault;

/// One scripted response. It is a handle: changes apply to the entry in the script, even after the call was
/// made, as long as the response has not been produced.
///
/// ```
/// use std::time::Duration;
/// use tidegate_testkit::strict;
///
/// let (service, handle) = strict::service::<()>();
/// handle.answer(200).after(Duration::from_secs(2)).frame("hel").frame("lo").stall();
/// let late = handle.hang();
/// late.body("here at last").release();
/// # drop(service);
/// ```
#[derive(Clone)]
pub struct Answer(Arc<Mutex<AnswerPlan>>);

struct AnswerPlan {
    status: StatusCode,
    headers: HeaderMap,
    extensions: Extensions,
    steps: VecDeque<AnswerStep>,
    /// Whether the body reports its exact length.
    sized: bool,
    error: Option<MakeError>,
    delay: Option<Duration>,
    held: bool,
    wakers: Vec<Waker>,
}

/// Errors cannot be cloned, but one answer may be produced many times.
pub(super) type MakeError = Arc<dyn Fn() -> BoxError + Send + Sync>;

/// One step of the body.
#[derive(Clone)]
pub(super) enum AnswerStep {
    Data(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Stall,
    Fail(MakeError),
}

/// The output of a response future.
pub(super) enum ScriptedResult {
    Response { head: Response<()>, steps: VecDeque<AnswerStep>, sized: bool },
    Error(BoxError),
}

impl Answer {
    /// A response with this status and an empty body.
    ///
    /// # Panics
    ///
    /// If `status` is not an HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self(Arc::new(Mutex::new(AnswerPlan {
            status: StatusCode::from_u16(status).expect("an HTTP status is between 100 and 999"),
            headers: HeaderMap::new(),
            extensions: Extensions::new(),
            steps: VecDeque::new(),
            sized: true,
            error: None,
            delay: None,
            held: false,
            wakers: Vec::new(),
        })))
    }

    /// The call fails with a [`Fault`] of this message.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        let fault = Fault::other(message);
        Self::error_with(move || fault.clone().into())
    }

    /// The call fails with the error that `make` creates.
    #[must_use]
    pub fn error_with(make: impl Fn() -> BoxError + Send + Sync + 'static) -> Self {
        Self::status(200).with(|plan| plan.error = Some(Arc::new(make)))
    }

    /// No response is produced until it is [released](Self::release).
    #[must_use]
    pub fn hang() -> Self {
        Self::status(200).hold()
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If the name or the value is not valid in a header.
    pub fn header(self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value: HeaderValue = value.parse().expect("a header value");
        self.with(|plan| {
            plan.headers.append(name, value);
        })
    }

    /// Adds an extension to the response.
    pub fn extension<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        self.with(|plan| {
            plan.extensions.insert(value);
        })
    }

    /// Sets the whole body: one frame of known length.
    pub fn body(self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.with(|plan| {
            plan.sized = true;
            plan.steps = VecDeque::from([AnswerStep::Data(data)]);
        })
    }

    /// Adds a frame. The length of the body is then unknown.
    pub fn frame(self, data: impl Into<Bytes>) -> Self {
        self.step(AnswerStep::Data(data.into()))
    }

    /// Adds trailers.
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.step(AnswerStep::Trailers(trailers))
    }

    /// The body is pending for `time`.
    pub fn pause(self, time: Duration) -> Self {
        self.step(AnswerStep::Pause(time))
    }

    /// The body is pending for ever.
    pub fn stall(self) -> Self {
        self.step(AnswerStep::Stall)
    }

    /// The body fails with a [`Fault`] of this message.
    pub fn break_off(self, message: impl Into<String>) -> Self {
        let fault = Fault::other(message);
        self.step(AnswerStep::Fail(Arc::new(move || fault.clone().into())))
    }

    /// The response is produced after `delay`, counted from the call.
    pub fn after(self, delay: Duration) -> Self {
        self.with(|plan| plan.delay = Some(delay))
    }

    /// The response is held until [`release`](Self::release).
    pub fn hold(self) -> Self {
        self.with(|plan| plan.held = true)
    }

    /// Releases a held response.
    pub fn release(&self) {
        let wakers = {
            let mut plan = self.plan();
            plan.held = false;
            std::mem::take(&mut plan.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn step(self, step: AnswerStep) -> Self {
        self.with(|plan| {
            plan.sized = false;
            plan.steps.push_back(step);
        })
    }

    fn with(self, change: impl FnOnce(&mut AnswerPlan)) -> Self {
        change(&mut self.plan());
        self
    }

    fn plan(&self) -> MutexGuard<'_, AnswerPlan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn delay(&self) -> Option<Duration> {
        self.plan().delay
    }

    pub(super) fn poll_released(&self, cx: &Context<'_>) -> Poll<()> {
        let mut plan = self.plan();
        if !plan.held {
            return Poll::Ready(());
        }
        if !plan.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            plan.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn produce(&self) -> ScriptedResult {
        let plan = self.plan();
        if let Some(make) = &plan.error {
            let make = Arc::clone(make);
            drop(plan);
            return ScriptedResult::Error(make());
        }
        let mut head = Response::new(());
        *head.status_mut() = plan.status;
        *head.headers_mut() = plan.headers.clone();
        *head.extensions_mut() = plan.extensions.clone();
        ScriptedResult::Response { head, steps: plan.steps.clone(), sized: plan.sized }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
        let what = if plan.error.is_some() { "an error" } else { plan.status.as_str() };
        write!(f, "Answer({what}{})", if plan.held { ", held" } else { "" })
    }
}

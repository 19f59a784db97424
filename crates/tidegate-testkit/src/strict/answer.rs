use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tidegate_core::BoxError;

use crate::Fault;

/// One answer of the script. A handle: what is set on it holds for the entry in the script, even after the
/// call has been made, as long as the answer was not given yet.
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
pub struct Answer(Arc<Mutex<Plan>>);

struct Plan {
    status: StatusCode,
    headers: HeaderMap,
    extensions: Extensions,
    steps: VecDeque<Step>,
    /// Whether the body tells its length.
    sized: bool,
    error: Option<MakeError>,
    delay: Option<Duration>,
    held: bool,
    wakers: Vec<Waker>,
}

/// Errors cannot be cloned, but an answer may be given many times.
pub(super) type MakeError = Arc<dyn Fn() -> BoxError + Send + Sync>;

/// What the body does next.
#[derive(Clone)]
pub(super) enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Pause(Duration),
    Stall,
    Fail(MakeError),
}

/// What a response future makes of an answer once it may be given.
pub(super) enum Given {
    Response { head: Response<()>, steps: VecDeque<Step>, sized: bool },
    Error(BoxError),
}

impl Answer {
    /// A response with this status and an empty body.
    ///
    /// # Panics
    ///
    /// If `status` is no HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self(Arc::new(Mutex::new(Plan {
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

    /// No response: the call fails with a [`Fault`] of these words.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        let fault = Fault::other(message);
        Self::error_with(move || fault.clone().into())
    }

    /// No response: the call fails with the error that `make` makes.
    #[must_use]
    pub fn error_with(make: impl Fn() -> BoxError + Send + Sync + 'static) -> Self {
        Self::status(200).with(|plan| plan.error = Some(Arc::new(make)))
    }

    /// No answer, until it is [released](Self::release).
    #[must_use]
    pub fn hang() -> Self {
        Self::status(200).hold()
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// If the name or the value cannot stand in a header.
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

    /// The whole body, in one frame and with its length told.
    pub fn body(self, data: impl Into<Bytes>) -> Self {
        let data = data.into();
        self.with(|plan| {
            plan.sized = true;
            plan.steps = VecDeque::from([Step::Data(data)]);
        })
    }

    /// One more frame of a body whose length is not told.
    pub fn frame(self, data: impl Into<Bytes>) -> Self {
        self.step(Step::Data(data.into()))
    }

    /// Trailers.
    pub fn trailers(self, trailers: HeaderMap) -> Self {
        self.step(Step::Trailers(trailers))
    }

    /// The body is silent for a while.
    pub fn pause(self, time: Duration) -> Self {
        self.step(Step::Pause(time))
    }

    /// The body is silent for ever.
    pub fn stall(self) -> Self {
        self.step(Step::Stall)
    }

    /// The body fails with a [`Fault`] of these words.
    pub fn break_off(self, message: impl Into<String>) -> Self {
        let fault = Fault::other(message);
        self.step(Step::Fail(Arc::new(move || fault.clone().into())))
    }

    /// The answer takes this long, counted from the call.
    pub fn after(self, delay: Duration) -> Self {
        self.with(|plan| plan.delay = Some(delay))
    }

    /// The answer waits for [`release`](Self::release).
    pub fn hold(self) -> Self {
        self.with(|plan| plan.held = true)
    }

    /// Lets an answer go that was held.
    pub fn release(&self) {
        let wakers = {
            let mut plan = self.plan();
            plan.held = false;
            std::mem::take(&mut plan.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn step(self, step: Step) -> Self {
        self.with(|plan| {
            plan.sized = false;
            plan.steps.push_back(step);
        })
    }

    fn with(self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan());
        self
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
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

    pub(super) fn give(&self) -> Given {
        let plan = self.plan();
        if let Some(make) = &plan.error {
            let make = Arc::clone(make);
            drop(plan);
            return Given::Error(make());
        }
        let mut head = Response::new(());
        *head.status_mut() = plan.status;
        *head.headers_mut() = plan.headers.clone();
        *head.extensions_mut() = plan.extensions.clone();
        Given::Response { head, steps: plan.steps.clone(), sized: plan.sized }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.plan();
        let what = if plan.error.is_some() { "an error" } else { plan.status.as_str() };
        write!(f, "Answer({what}{})", if plan.held { ", held" } else { "" })
    }
}

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use sync_wrapper::SyncWrapper;
use tokio::time::Sleep;
use tower_service::Service;

use super::body_source::BodySource;
use super::chain::{ChainState, NextTarget, TargetResult};
use super::hedge_future::HedgeFuture;
use super::target::{TargetFuture, TargetService};
use crate::body::CollectRequest;
use crate::rejected::{deadline_passed, is_unsent};
use crate::{Error, HttpService, Payload, Rejection, Trail};

/// The state of one call that may fall back.
pub(super) struct FallbackCall<S, F> {
    pub(super) chain: ChainState,
    /// A clone of the first target, if it may be called again.
    first_clone: Option<S>,
    /// The clone that is made ready for another call to the first target. A service that fails in
    /// `poll_ready` must not be used again, so each such call gets a new clone.
    first_retry: Option<S>,
    /// The attempt beside the one in progress.
    pub(super) hedge: Option<HedgeFuture<F>>,
}

/// The step of a call in its chain.
#[pin_project(project = StateProj)]
pub(super) enum State<S, F, B> {
    /// The request body is read, so that it can be sent to several targets. Boxed: rare and large.
    Collecting(Box<Collecting<S, B>>),
    /// The first target is called.
    CallingFirst(#[pin] F),
    /// The deadline passed before any target was called.
    PastDeadline(Option<Rejection>),
    /// The first target is made ready for another call.
    ReadyingFirst,
    /// The next target is made ready.
    Readying(TargetService),
    /// The next target is called.
    CallingNext(TargetFuture),
    /// The target of the hedge is called, and no other.
    CallingHedge(HedgeFuture<F>),
    /// The response was returned.
    Done,
    /// All targets are cooling down, and the call waits until one of them is available.
    Waiting(Pin<Box<Sleep>>),
}

/// A request while its body is being read.
pub(super) struct Collecting<S, B> {
    pub(super) request: CollectRequest<B>,
    /// The first target: the instance that the caller made ready.
    pub(super) first: S,
}

impl<S, F> FallbackCall<S, F> {
    pub(super) const fn new(chain: ChainState) -> Self {
        Self { chain, first_clone: None, first_retry: None, hedge: None }
    }
}

impl<S, F> FallbackCall<S, F>
where
    S: Service<Request<Payload>, Future = F> + Clone,
{
    /// Calls the first target, which is ready.
    pub(super) fn call_first<B>(&mut self, first: &mut S, request: Request<Payload>) -> State<S, F, B> {
        self.chain.keep_request(&request);
        self.first_clone = self.chain.may_resend_to_first().then(|| first.clone());
        if self.chain.is_past_deadline() {
            let rejection = self.chain.reject_at_deadline(deadline_passed(), Some(request.extensions()));
            return State::PastDeadline(Some(rejection));
        }
        self.chain.start_attempt();
        State::CallingFirst(first.call(request))
    }

    /// Starts to make `target` ready; it is called as soon as it is.
    pub(super) fn make_ready<B>(&mut self, target: NextTarget) -> State<S, F, B> {
        match target {
            NextTarget::First => {
                self.first_retry.clone_from(&self.first_clone);
                State::ReadyingFirst
            }
            NextTarget::Other(service) => State::Readying(service),
        }
    }
}

impl<S, F> FallbackCall<S, F>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
{
    /// Ready once a target is called, or with the error of one that cannot be called.
    #[inline]
    pub(super) fn poll_callable<B>(
        &mut self,
        mut state: Pin<&mut State<S, F, B>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            match state.as_mut().project() {
                StateProj::CallingFirst(_) | StateProj::CallingNext(_) | StateProj::CallingHedge(_) => {
                    return Poll::Ready(Ok(()));
                }
                StateProj::Waiting(sleep) => {
                    ready!(sleep.as_mut().poll(cx));
                    let target = self.chain.target_after_wait();
                    state.set(self.make_ready(target));
                }
                StateProj::ReadyingFirst => {
                    let first = self.first_retry.as_mut().expect("set in `ReadyingFirst`");
                    ready!(self.chain.poll_ready(first, cx))?;
                    let future = first.call(self.chain.request());
                    state.set(State::CallingFirst(future));
                }
                StateProj::Readying(service) => {
                    ready!(self.chain.poll_ready(service, cx))?;
                    let future = service.call(self.chain.request());
                    state.set(State::CallingNext(SyncWrapper::new(future)));
                }
                StateProj::PastDeadline(rejection) => {
                    let rejection = rejection.take().expect("polled after completion");
                    return Poll::Ready(Err(rejection.into()));
                }
                StateProj::Collecting(_) | StateProj::Done => unreachable!("polled after completion"),
            }
        }
    }

    /// Ready with the result of the attempt in progress, or with that of the hedge beside it if this is the
    /// result of the call.
    #[inline]
    pub(super) fn poll_attempt<B>(
        &mut self,
        mut state: Pin<&mut State<S, F, B>>,
        cx: &mut Context<'_>,
    ) -> Poll<TargetResult<S::Body>> {
        loop {
            let polled = match state.as_mut().project() {
                StateProj::CallingFirst(future) => {
                    self.chain.poll_response(future, cx).map_ok(|response| response.map(BodySource::first))
                }
                StateProj::CallingNext(future) => self
                    .chain
                    .poll_response(future.get_mut().as_mut(), cx)
                    .map_ok(|response| response.map(BodySource::Other)),
                StateProj::CallingHedge(future) => self.chain.poll_response(Pin::new(future), cx),
                _ => unreachable!("a target is called"),
            };
            if polled.is_ready() {
                return polled;
            }
            let result = ready!(self.poll_hedge(cx));
            if self.chain.on_hedge_result(&result) {
                // The attempt that was in progress is cancelled, and recorded at its own target, before that of
                // the hedge is the current one.
                state.set(State::Done);
                self.chain.select_hedge();
                return Poll::Ready(result);
            }
        }
    }

    /// Starts the hedge when it is due. Ready with its result, once it has one.
    fn poll_hedge(&mut self, cx: &mut Context<'_>) -> Poll<TargetResult<S::Body>> {
        let Some(hedge) = &mut self.hedge else {
            let targets = ready!(self.chain.poll_hedge_due(cx));
            return self.start_hedge(&targets, cx);
        };
        let result = ready!(Pin::new(hedge).poll(cx));
        self.hedge = None;
        Poll::Ready(result)
    }

    /// Calls the first of the targets that takes the request at once.
    #[cold]
    fn start_hedge(&mut self, targets: &[usize], cx: &mut Context<'_>) -> Poll<TargetResult<S::Body>> {
        for target_index in targets {
            if !self.chain.try_take_attempt() {
                break;
            }
            let Some((mut hedge, trail)) = self.call_hedge(*target_index, cx) else {
                self.chain.give_back_attempt();
                continue;
            };
            let polled = Pin::new(&mut hedge).poll(cx);
            // A gate has rejected the request, and has given the attempt back.
            if let Poll::Ready(Err(error)) = &polled
                && is_unsent(error)
            {
                continue;
            }
            self.chain.start_hedge(*target_index, trail);
            self.hedge = polled.is_pending().then_some(hedge);
            return polled;
        }
        self.chain.give_up_hedge();
        Poll::Pending
    }

    fn call_hedge(&mut self, target_index: usize, cx: &mut Context<'_>) -> Option<(HedgeFuture<F>, Trail)> {
        let (service, mut trail) = (self.chain.service_at(target_index), None);
        let request = || {
            let (request, own_trail) = self.chain.hedge_request(target_index)?;
            trail = Some(own_trail);
            Some(request)
        };
        let hedge = match service {
            Some(service) => HedgeFuture::at_other(service, request, cx),
            None => HedgeFuture::at_first(self.first_clone.clone()?, request, cx),
        };
        hedge.zip(trail)
    }
}

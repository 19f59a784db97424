use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::chain::{ChainState, TargetResult, is_unsent};
use super::hedge_future::HedgeFuture;
use crate::{HttpService, Payload, Trail};

/// The state of one call that may fall back.
pub(super) struct FallbackCall<S, F> {
    pub(super) chain: ChainState,
    /// A clone of the first target, if it may be called again.
    pub(super) first_clone: Option<S>,
    /// The clone that is made ready for another call to the first target. A service that fails in
    /// `poll_ready` must not be used again, so each such call gets a new clone.
    pub(super) first_retry: Option<S>,
    /// The attempt beside the one in progress.
    pub(super) hedge: Option<HedgeFuture<F>>,
}

impl<S, F> FallbackCall<S, F> {
    pub(super) const fn new(chain: ChainState) -> Self {
        Self { chain, first_clone: None, first_retry: None, hedge: None }
    }
}

impl<S, F> FallbackCall<S, F>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Service<Request<Payload>, Future = F> + Clone,
    F: Future<Output = Result<Response<S::Body>, S::Error>>,
{
    /// Starts the hedge when it is due. Ready with its result, once it has one.
    pub(super) fn poll_hedge(&mut self, cx: &mut Context<'_>) -> Poll<TargetResult<S::Body>> {
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
            self.chain.start_hedge(*target_index, &trail);
            self.hedge = polled.is_pending().then_some(hedge);
            return polled;
        }
        self.chain.give_up_hedge();
        Poll::Pending
    }

    fn call_hedge(&self, target_index: usize, cx: &mut Context<'_>) -> Option<(HedgeFuture<F>, Trail)> {
        let mut trail = None;
        let request = || {
            let (request, own_trail) = self.chain.hedge_request(target_index)?;
            trail = Some(own_trail);
            Some(request)
        };
        let hedge = match self.chain.service_at(target_index) {
            Some(service) => HedgeFuture::at_other(service, request, cx),
            None => HedgeFuture::at_first(self.first_clone.clone()?, request, cx),
        };
        hedge.zip(trail)
    }
}

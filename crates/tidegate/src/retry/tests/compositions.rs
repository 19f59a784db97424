//! Properties of any composition of retries and chains.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use proptest::prelude::*;
use tidegate_testkit::strict::Answer;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt};

use super::promises::Act;
use super::*;
use crate::rate_limit::OnLimit;
use crate::{BoxError, FallbackLayer, HttpService, Payload, RateLimitLayer};

/// A composition of retries and chains around one provider.
#[derive(Clone, Debug)]
enum Tree {
    Provider,
    Retry(u32, Box<Tree>),
    Chain(Vec<Tree>),
}

type Boxed = BoxCloneSyncService<Request<Payload>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

impl Tree {
    fn any() -> impl Strategy<Value = Self> {
        Just(Self::Provider).prop_recursive(4, 12, 3, |inner| {
            prop_oneof![
                (0u32..4, inner.clone()).prop_map(|(retries, tree)| Self::Retry(retries, Box::new(tree))),
                prop::collection::vec(inner, 1..4).prop_map(Self::Chain),
            ]
        })
    }

    /// The attempts without an attempt budget.
    fn attempts(&self) -> u32 {
        match self {
            Self::Provider => 1,
            Self::Retry(retries, inner) => (retries + 1) * inner.attempts(),
            Self::Chain(targets) => targets.iter().map(Self::attempts).sum(),
        }
    }

    fn service(&self, provider: &Boxed) -> Boxed {
        match self {
            Self::Provider => provider.clone(),
            Self::Retry(retries, inner) => {
                let layer = RetryLayer::exponential().max_retries(*retries).without_budget();
                boxed(layer.layer(inner.service(provider)))
            }
            Self::Chain(targets) => {
                let mut services = targets.iter().map(|target| target.service(provider));
                let first = services.next().unwrap();
                boxed(services.fold(FallbackLayer::new(), |chain, next| chain.then("", next)).layer(first))
            }
        }
    }
}

fn boxed<S>(service: S) -> Boxed
where
    S: HttpService<Payload, Body: http_body::Body<Data = Bytes> + Send + 'static, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
{
    let service = service
        .map_response(|response: Response<S::Body>| {
            response.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))
        })
        .map_err(Into::into);
    BoxCloneSyncService::new(service)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Pitfall P30 (docs/pitfalls.md).
    #[test]
    fn attempts_never_exceed_the_budget_in_any_composition(tree in Tree::any(), budget in 1u32..12) {
        paused().block_on(async {
            let (inner, provider) = strict();
            provider.otherwise(Answer::status(503));
            let request = request_with(AttemptBudget::new(budget));
            let response = tree.service(&boxed(inner)).oneshot(request).await.unwrap();
            assert_eq!(response.status(), 503);
            assert_eq!(provider.calls(), budget.min(tree.attempts()) as usize);
        });
    }

    /// The same with a deadline, a provider of arbitrary behaviour and a gate that rejects. The attempts that
    /// were sent and the rest of the budget add up to the budget, and no attempt is sent after the deadline.
    #[test]
    fn the_attempt_budget_is_accounted_for_in_any_composition(
        tree in Tree::any(),
        acts in prop::collection::vec(Act::any(), 0..20),
        budget in 1u32..10,
        per_second in 1u32..4,
        total in 1u64..20_000,
    ) {
        paused().block_on(async {
            let (inner, provider) = strict();
            acts.iter().for_each(|act| act.script(&provider));
            provider.otherwise(Answer::status(503).after(SECOND / 2));
            let gated = RateLimitLayer::per_second(per_second).on_limit(OnLimit::Reject).layer(inner);
            // The outermost layer enforces the deadline.
            let mut chain = FallbackLayer::new().then_emergency("down").layer(tree.service(&boxed(gated)));
            let attempts = AttemptBudget::new(budget);
            let mut request = request_with(attempts.clone());
            let (total, began) = (Duration::from_millis(total), tokio::time::Instant::now());
            Deadline::after(total, clock::now()).tighten(request.extensions_mut());
            let _ = send(&mut chain, request).await;
            let took = began.elapsed();
            assert!(took <= total + Duration::from_millis(1), "{took:?} of {total:?}");
            assert!(provider.requests().iter().all(|seen| seen.at < began + total));
            assert!(provider.calls() <= budget as usize, "{} of {budget}", provider.calls());
            // At the deadline, an attempt may have been taken from the budget and not sent.
            if took < total {
                assert_eq!(attempts.remaining() as usize + provider.calls(), budget as usize);
            }
        });
    }
}

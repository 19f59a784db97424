use tower::ServiceBuilder;

use super::protocol_order::MAX_QUEUED;
use super::status_policy::StatusPolicy;
use super::{BuiltStack, ComparedStack, StackPlan, StackService, TargetPlan, peer, round_robin};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower",
    description: "tower's Timeout of the call, Retry with a policy written by hand that obeys Retry-After, RateLimit of \
                  requests behind a Buffer, Timeout of the attempt to its head; answers that are no streams are read whole, \
                  by hand, in the attempt; the first provider only, since tower has no fallback; of a group a weighted \
                  round robin written by hand, inside Retry, so that another member gets the next attempt",
    build: |plan, wire| {
        let settings = plan.settings;
        let members = plan.places().next().unwrap_or_default();
        let attempt = ServiceBuilder::new().timeout(settings.attempt).service(peer::client(wire));
        let attempt = peer::whole_answers(StackService::new(attempt), settings.attempt);
        let limited = |member| limited(plan, member, peer::addressed(attempt.clone(), member));
        let attempts = members.iter().map(limited).collect();
        let service = ServiceBuilder::new()
            .timeout(settings.total)
            .retry(StatusPolicy::new(settings))
            .service(round_robin::round_robin_of(attempts, &round_robin::weights(members)));
        BuiltStack::new(StackService::new(service))
    },
};

/// Clones of a RateLimit have limits of their own, so one is behind a Buffer.
fn limited(plan: &StackPlan, target: &TargetPlan, attempt: StackService) -> StackService {
    let Some(requests) = target.requests else { return attempt };
    let limit = ServiceBuilder::new().buffer(MAX_QUEUED).rate_limit(requests.into(), plan.minute);
    StackService::new(limit.service(attempt))
}

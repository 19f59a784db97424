use tower::ServiceBuilder;

use super::status_policy::StatusPolicy;
use super::{BuiltStack, ComparedStack, StackService, peer, round_robin};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower",
    description: "tower's Timeout of the call, Retry with a policy written by hand that obeys Retry-After, Timeout of \
                  the attempt to its head; the first provider only, since tower has no fallback; of a group a weighted \
                  round robin written by hand, inside Retry, so that another member gets the next attempt",
    build: |plan, wire| {
        let settings = plan.settings;
        let members = plan.places().next().unwrap_or_default();
        let client = peer::client(wire);
        let addressed = members.iter().map(|member| peer::addressed(client.clone(), member)).collect();
        let service = ServiceBuilder::new()
            .timeout(settings.total)
            .retry(StatusPolicy::new(settings))
            .timeout(settings.attempt)
            .service(round_robin::round_robin_of(addressed, &round_robin::weights(members)));
        BuiltStack::new(StackService::new(service))
    },
};

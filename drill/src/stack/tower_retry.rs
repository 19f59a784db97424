use tower::ServiceBuilder;

use super::status_policy::StatusPolicy;
use super::{BuiltStack, ComparedStack, StackService, peer};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower",
    description: "tower's Timeout of the call, Retry with a policy written by hand that obeys Retry-After, Timeout of \
                  the attempt to its head; the first provider only, since tower has no fallback",
    build: |plan, wire| {
        let settings = plan.settings;
        let service = ServiceBuilder::new()
            .timeout(settings.total)
            .retry(StatusPolicy::new(settings))
            .timeout(settings.attempt)
            .service(peer::client(wire));
        BuiltStack::new(StackService::new(service))
    },
};

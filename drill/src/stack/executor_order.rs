use http::Request;
use tidegate::fallback::AsTarget;
use tidegate::group::{Group, Member};
use tidegate::providers::ProviderClassifier;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, ClassifyLayer, Deadline, FallbackLayer, Payload, RateLimitLayer,
    ResilienceConfig, RetryLayer, TimeoutLayer, backpressure,
};
use tower::{Layer, ServiceBuilder, ServiceExt};

use super::protocol_order::{limits, name, policy};
use super::tidegate_client::{TidegateClient, client, for_callers, rules};
use super::{BuiltStack, ComparedStack, StackPlan, TargetPlan};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "executor order",
    description: "tidegate's layers in the order of the protocol's executor, in a Fallback to the next provider: \
                  Backpressure, RateLimit, CircuitBreaker, Retry, Classify, Timeout; the settings are those of `tidegate`; \
                  the members of a group are a Group that cannot look at their gates",
    build: |plan, wire| {
        let client = client(wire);
        let mut handles = Vec::new();
        let mut places = plan.places().map(|members| {
            let stacks = members
                .iter()
                .map(|target| Member::new(&name(target), stack(plan, target, client.clone(), &mut handles)));
            let of_one = name(&members[0]);
            Group::new(members[0].group.as_ref().unwrap_or(&of_one), stacks).expect("a checked group")
        });
        let first = places.next();
        let fallback = FallbackLayer::from_settings(policy(&plan.settings).fallback).expect("valid settings");
        let fallback = places.fold(fallback, FallbackLayer::then_group);
        let total = plan.settings.total;
        let chain = fallback.layer(first.expect("a checked scenario has a provider"));
        let chain = chain.map_request(move |mut request: Request<Payload>| {
            let now = tokio::time::Instant::now().into_std();
            Deadline::after(total, now).tighten(request.extensions_mut());
            request
        });
        let held = move || handles.iter().map(|handle| handle.in_flight() + handle.queued()).sum();
        BuiltStack::new(for_callers(chain)).held_by(held)
    },
};

fn stack(
    plan: &StackPlan,
    target: &TargetPlan,
    client: TidegateClient,
    handles: &mut Vec<backpressure::Handle>,
) -> impl AsTarget<Error = tidegate::Error> + use<> {
    let ResilienceConfig { retry, circuit_breaker, backpressure, timeout, .. } = policy(&plan.settings);
    let valid = "valid settings";
    let classifier = ProviderClassifier::new(rules(target.dialect));
    let backpressure = BackpressureLayer::from_settings(backpressure.unwrap_or_default()).expect(valid);
    handles.push(backpressure.handle());
    let limit = RateLimitLayer::from_settings(limits(plan, target)).expect(valid).classifier(classifier);
    let stack = ServiceBuilder::new()
        .layer(backpressure)
        .layer(limit)
        .layer(CircuitBreakerLayer::from_settings(circuit_breaker.unwrap_or_default()).expect(valid))
        .layer(RetryLayer::from_settings(retry.unwrap_or_default()).expect(valid))
        .layer(ClassifyLayer::new(classifier).clocks(timeout.stream_clocks()))
        .layer(TimeoutLayer::new(timeout.attempt))
        .service(client);
    let authority = target.authority.clone();
    stack.map_request(move |mut request: Request<Payload>| {
        let path = request.uri().path().to_owned();
        *request.uri_mut() = format!("http://{authority}{path}").parse().expect("a name and a path");
        request
    })
}
